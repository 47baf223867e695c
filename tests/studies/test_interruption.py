"""A study that was killed goes on where it was; three processes find what one finds."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.studies._made import DECLARED, written_study
from tests.studies._run import values_of

ROOT = Path(__file__).parents[2]
WAITING = "waiting: {class_path: tests.studies._made.Waiting}"


def start(study, folder, awaited=""):
    command = [sys.executable, "-W", "ignore", "-m", "tests.studies._run", str(study), str(folder)]
    environment = {**os.environ, "AWAITED": str(awaited)}
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )


def lines_until(process, line):
    """Return what a process says up to a line of its output."""
    said = []
    while not said or said[-1] != line:
        text = process.stdout.readline()
        assert text, f"it ended before it said {line!r}: {said}"
        said.append(text.strip())
    return said


@pytest.fixture
def study(tmp_path):
    return written_study(tmp_path, DECLARED.replace("hires_cam: hires_cam", f"hires_cam: hires_cam, {WAITING}"))


def test_a_killed_study_goes_on_and_three_processes_are_one(study, tmp_path):
    alone, together = tmp_path / "alone", tmp_path / "together"
    killed = start(study, together, tmp_path / "never")
    said = lines_until(killed, "explaining")  # networks are trained, and it is in the midst of the comparison
    killed.kill()  # SIGKILL: it cannot tidy up
    killed.communicate()
    trained = sorted(path.name for path in (together / "networks").glob("*.pt"))
    assert len(trained) == 1 == sum(line.startswith("training") for line in said)
    assert list((together / "claims").glob("*.json"))  # what it held when it died

    others = [start(study, together), start(study, together)]
    lines = []
    found = values_of(study, together, lines.append)  # this process is the third
    outputs = [other.communicate(timeout=300)[0] for other in others]
    assert [other.returncode for other in others] == [0, 0]
    assert not any(line.startswith("training") for line in (*lines, *"\n".join(outputs).splitlines()))
    assert sorted(path.name for path in (together / "networks").glob("*.pt")) == trained
    assert not list((together / "claims").glob("*.json"))

    once = values_of(study, alone)
    assert found == once
    for output in outputs:
        assert output[output.index("found ") :].removeprefix("found ").strip() == once.strip()
    for name in trained:
        networks = [torch.load(folder / "networks" / name)["networks"] for folder in (alone, together)]
        for epoch, network in networks[0].items():
            for key, values in network["state"].items():
                assert torch.equal(values, networks[1][epoch]["state"][key])
    assert len(list((together / "values").glob("*"))) == len(list((alone / "values").glob("*")))
