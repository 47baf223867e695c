"""Work that one process claims is its own, until it is done or dead."""

import json
import os
import socket
import subprocess
import sys
import time

import pytest

from lightning_xai.comparison.storage.lease import Leases


def age(path, seconds):
    os.utime(path, (time.time() - seconds,) * 2)


def test_one_owner_at_a_time(tmp_path):
    first, second = Leases(tmp_path), Leases(tmp_path)
    with first.claimed("work") as mine:
        assert mine
        with second.claimed("work") as theirs, second.claimed("other") as another:
            assert (theirs, another) == (False, True)
        assert (tmp_path / "work.json").is_file()  # who did not get it does not take it away
    with second.claimed("work") as theirs:
        assert theirs
    assert list(tmp_path.iterdir()) == []


def test_a_claim_that_nobody_renews_is_taken_over(tmp_path):
    first, second = Leases(tmp_path, 60.0), Leases(tmp_path, 60.0)
    with first.claimed("work"):
        age(tmp_path / "work.json", 50)
        with second.claimed("work") as theirs:
            assert not theirs
        age(tmp_path / "work.json", 70)
        with second.claimed("work") as theirs:
            assert theirs
            owner = json.loads((tmp_path / "work.json").read_text())["owner"]
            first_owner = first._me
            assert owner != first_owner
    assert list(tmp_path.iterdir()) == []


def test_the_first_owner_does_not_take_away_what_was_taken_over(tmp_path):
    first, second = Leases(tmp_path), Leases(tmp_path)
    claim = first.claimed("work")
    assert claim.__enter__()
    age(tmp_path / "work.json", 1000)
    with second.claimed("work") as theirs:
        assert theirs
        claim.__exit__(None, None, None)
        assert (tmp_path / "work.json").is_file()


def test_a_claim_is_renewed(tmp_path):
    first = Leases(tmp_path, 0.2)
    with first.claimed("work"):
        path = tmp_path / "work.json"
        age(path, 1000)
        for _ in range(200):
            if time.time() - path.stat().st_mtime < 500:
                break
            time.sleep(0.05)
        else:
            raise AssertionError("never renewed")


def test_the_work_of_a_dead_process_of_this_machine_is_free_at_once(tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    claim = {"owner": "x", "host": socket.gethostname(), "process": os.getpid()}
    (tmp_path / "work.json").write_text(json.dumps(claim))
    with Leases(tmp_path).claimed("work") as mine:
        assert not mine
    (tmp_path / "work.json").write_text(json.dumps(claim | {"process": dead.pid}))
    with Leases(tmp_path).claimed("work") as mine:
        assert mine


def test_a_claim_of_another_machine_holds(tmp_path):
    (tmp_path / "work.json").write_text(json.dumps({"owner": "x", "host": "elsewhere", "process": 2**22 + 1}))
    with Leases(tmp_path).claimed("work") as mine:
        assert not mine
    (tmp_path / "work.json").write_text("")  # its owner was killed before it wrote its name
    age(tmp_path / "work.json", 61)
    with Leases(tmp_path).claimed("work") as mine:
        assert mine


def test_an_error_gives_the_work_back(tmp_path):
    with pytest.raises(RuntimeError), Leases(tmp_path).claimed("work"):
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
