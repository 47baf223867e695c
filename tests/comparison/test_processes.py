"""Several processes share the work of a comparison: three are one, also when one is killed."""

import signal
import subprocess
import sys
from pathlib import Path

from tests.comparison._made import EXPLAINED, Slow
from tests.comparison._run import heavy

ROOT = Path(__file__).parents[2]


def start(folder, until):
    """Start a process that waits for a file in each part of the first cell."""
    arguments = [sys.executable, "-m", "tests.comparison._run", str(folder), str(until)]
    return subprocess.Popen(arguments, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def test_three_processes_share_one_cell_and_are_one_also_when_one_is_killed(tmp_path, monkeypatch):
    """Two wait in a part each; one of them is killed, and this process, the third, takes over what that one held."""
    out, go = tmp_path / "out", tmp_path / "go"
    killed, other = processes = [start(out, until) for until in (tmp_path / "never", go)]
    try:
        for process in processes:
            assert process.stdout.readline() == "explaining\n"
        cells, parts = zip(*(path.stem.split(".") for path in (out / "claims").glob("*.json")), strict=True)
        assert len(set(cells)) == 1
        assert len(set(parts)) == 2
        killed.kill()
        killed.wait()
        assert killed.returncode == -signal.SIGKILL
        monkeypatch.setattr(Slow, "begins", staticmethod(go.touch))  # the other one goes on when we have begun
        EXPLAINED.clear()
        table = heavy(out, split=1).run().to_csv()
        ours = len(EXPLAINED)
        told = other.communicate(timeout=300)[0]
    finally:
        for process in processes:
            process.kill()
            process.wait()
            process.stdout.close()
    assert other.returncode == 0
    assert table == heavy().run().to_csv()
    assert told[told.index("model,data") :].strip() == table.strip()
    assert ours > 0
    assert ours + 1 + told.count("explaining") == 5  # batches, of which no other was explained twice
    assert len(list((out / "values").iterdir())) == 4 * 4
    assert not list((out / "claims").iterdir())
    assert not list((out / "parts").iterdir())
