"""Several processes share the work of a comparison: three are one, also when one is killed."""

import subprocess
import sys
from pathlib import Path

from tests.comparison._run import comparison

ROOT = Path(__file__).parents[2]


def start(folder, seconds):
    """Start a process, and wait until it holds the claim of a cell, which it takes so many seconds to explain."""
    arguments = [sys.executable, "-m", "tests.comparison._run", str(folder), "60", str(seconds)]
    process = subprocess.Popen(arguments, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "explaining\n"
    return process


def test_three_processes_are_one_also_when_one_is_killed(tmp_path):
    killed = start(tmp_path, 600.0)
    (of_killed,) = (tmp_path / "claims").glob("*.json")
    killed.kill()
    killed.communicate()
    slow = start(tmp_path, 1.0)  # takes over what the dead one held
    assert [*(tmp_path / "claims").glob("*.json")] == [of_killed]
    table = comparison(tmp_path).run().to_csv()  # does what the slow one has not claimed, and waits for that
    out = slow.communicate(timeout=300)[0]
    assert slow.returncode == 0
    assert out[out.index("model,data") :].strip() == table.strip()
    assert table == comparison().run().to_csv()
    assert len(list((tmp_path / "values").glob("*.parquet"))) == 2 * 6 * 4
    assert not list((tmp_path / "claims").glob("*"))
