"""Files are whole: old or new, never half, whatever happens while they are written."""

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import fsspec
import pytest

from lightning_xai.loggers import files
from lightning_xai.loggers.files import joined, write_file

_SLOW_DISK = """
import os, runpy, sys, time

def flushing_takes_forever(descriptor):
    print("written, not yet renamed", flush=True)
    time.sleep(600)

os.fsync = flushing_takes_forever
runpy.run_path(sys.argv[1])["write_file"](sys.argv[2], b"new" * 100_000)
"""
_FULL_DISK = """
import resource, runpy, sys

resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
runpy.run_path(sys.argv[1])["write_file"](sys.argv[2], b"new" * 100_000)
"""
_MANY_WRITES = """
import runpy, sys

write_file = runpy.run_path(sys.argv[1])["write_file"]
for _ in range(40):
    write_file(sys.argv[2], sys.argv[3].encode() * 300_000)
"""


@pytest.fixture
def memory():
    """The filesystem of URLs such as memory://written, one for all tests of a process."""
    return fsspec.filesystem("memory")


@pytest.fixture
def old(tmp_path):
    path = tmp_path / "history.csv"
    path.write_bytes(b"old")
    return path


def start(code, *arguments):
    """Run code in a process of its own, which reads the module by its path because importing torch takes seconds."""
    command = [sys.executable, "-c", code, files.__file__, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize(
    ("directory", "names", "path"),
    [
        ("runs", ("a", "b.csv"), Path("runs/a/b.csv")),
        (Path("/runs"), ("b.csv",), Path("/runs/b.csv")),
        ("memory://runs/a", ("xai", "b.csv"), "memory://runs/a/xai/b.csv"),
        ("s3://bucket/", ("b.csv",), "s3://bucket/b.csv"),
        ("memory://", ("b.csv",), "memory://b.csv"),
        ("file:///runs", ("b.csv",), "file:///runs/b.csv"),
    ],
)
def test_paths_below_a_directory(directory, names, path):
    assert joined(directory, *names) == path


@pytest.mark.parametrize("scheme", ["", "file://", "local://"])
def test_a_local_file_is_replaced_and_nothing_else_is_left(tmp_path, scheme):
    path = tmp_path / "new folder" / "a" / "history.csv"
    for content in (b"first", b"", b"second" * 100_000):
        write_file(f"{scheme}{path}" if scheme else path, content)
        assert path.read_bytes() == content
        assert list(path.parent.iterdir()) == [path]


def test_the_file_has_the_permissions_of_any_other(tmp_path):
    write_file(tmp_path / "mine", b"")
    (tmp_path / "usual").touch()
    assert (tmp_path / "mine").stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_a_name_may_be_as_long_as_the_file_system_allows(tmp_path):
    write_file(tmp_path / ("n" * 255), b"content")
    assert (tmp_path / ("n" * 255)).read_bytes() == b"content"


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_a_write_that_fails_leaves_the_old_file_and_no_draft(old, monkeypatch, error):
    def fail(descriptor):
        raise error

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(type(error)):
        write_file(old, b"new" * 100_000)
    assert old.read_bytes() == b"old"
    assert list(old.parent.iterdir()) == [old]


def test_a_disk_that_is_full_half_way_leaves_the_old_file_and_no_draft(old):
    pytest.importorskip("resource")
    _, errors = start(_FULL_DISK, old).communicate()
    assert "File too large" in errors
    assert old.read_bytes() == b"old"
    assert list(old.parent.iterdir()) == [old]


def test_a_killed_process_leaves_the_old_file_whole(old):
    process = start(_SLOW_DISK, old)
    try:
        assert process.stdout.readline() == "written, not yet renamed\n"
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert old.read_bytes() == b"old"
    (draft,) = set(old.parent.iterdir()) - {old}
    assert draft.name.startswith(".")  # which nothing could remove any more
    write_file(old, b"new")
    assert old.read_bytes() == b"new"


def test_two_processes_write_one_file_and_every_reader_sees_one_of_theirs(old):
    write_file(old, b"a" * 300_000)
    processes, contents = [start(_MANY_WRITES, old, letter) for letter in "ab"], set()
    deadline = time.monotonic() + 60
    while any(process.poll() is None for process in processes):
        assert time.monotonic() < deadline
        contents.add(old.read_bytes())
    assert [(*process.communicate(), process.returncode) for process in processes] == [("", "", 0)] * 2
    assert {(len(content), *set(content)) for content in contents} <= {(300_000, ord("a")), (300_000, ord("b"))}
    assert list(old.parent.iterdir()) == [old]


def test_other_filesystems_get_the_whole_content_in_one_put(memory, monkeypatch):
    puts, pipe_file = [], type(memory).pipe_file
    monkeypatch.setattr(type(memory), "pipe_file", lambda self, *put: puts.append(put) or pipe_file(self, *put))
    for content in (b"first", b"second"):
        write_file("memory://written/a/history.csv", content)
        assert memory.cat_file("/written/a/history.csv") == content
    assert [content for _, content in puts] == [b"first", b"second"]
    assert memory.find("/written") == ["/written/a/history.csv"]


def test_an_unknown_filesystem_is_named():
    with pytest.raises(ValueError, match="Protocol not known: nowhere"):
        write_file("nowhere://runs/history.csv", b"")


def test_a_local_file_needs_neither_lightning_nor_fsspec(tmp_path):
    code = (
        "import sys; from lightning_xai.loggers.files import write_file; write_file(sys.argv[1], b'a'); "
        "print([name for name in ('lightning', 'fsspec') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "a"], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
