"""Several processes share the work of a comparison: three are one, also when one is killed."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from lightning_utilities.core.rank_zero import rank_zero_only

from lightning_xai import Comparison
from tests.comparison._made import EXPLAINED, AsIs, Counted, Slow, many_images
from tests.comparison._run import heavy

ROOT = Path(__file__).parents[3]
MADE = "tests.comparison._made"


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


def test_devices_are_placed_by_fabric(tmp_path):
    """Each of two processes explains a part before either goes on; the first one alone tells the table."""
    parts = [
        "--models",
        f"{MADE}.Counted",
        "--data",
        f"{MADE}.many_images",
        "--split",
        "1",
        "--metrics",
        "average_drop",
    ]
    explainers = ["--explainers", f'{{"met": {{"class_path": "{MADE}.Meeting"}}}}', "--output", str(tmp_path / "out")]
    placed = ["--device", "cpu", "--devices", "2", "--split", "1"]
    done = subprocess.run(
        [sys.executable, "-m", "lightning_xai", "compare", *parts, *explainers, *placed],
        cwd=ROOT, env=os.environ | {"MEETING": str(tmp_path)}, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Meeting()") == 1
    assert len(list(tmp_path.glob("*.here"))) == 2
    alone = Comparison(Counted(), {"many_images": many_images()}, {"met": AsIs()}, "average_drop").run()
    assert (tmp_path / "out" / "means.csv").read_text().strip().splitlines()[1:] == [
        line.replace("counted", "Counted") for line in alone.mean().to_csv().strip().splitlines()[1:]
    ]
    assert not any((tmp_path / "out" / "claims").iterdir())


def test_processes_of_a_cluster_form_no_group(tmp_path, monkeypatch):
    """As torchrun starts them: the second one of the second machine; nobody listens at the address of the first one."""
    given = {"RANK": 3, "LOCAL_RANK": 1, "WORLD_SIZE": 4, "LOCAL_WORLD_SIZE": 2, "GROUP_RANK": 1, "MASTER_PORT": 1}
    given |= {"OMP_NUM_THREADS": 1}  # which Fabric would choose
    for name, value in (given | {"TORCHELASTIC_RUN_ID": "a", "MASTER_ADDR": "127.0.0.1"}).items():
        monkeypatch.setenv(name, str(value))
    # which Fabric sets for all that comes later in this process, and nobody before where this test is the first
    monkeypatch.setattr(rank_zero_only, "rank", 0, raising=False)
    comparison = heavy(tmp_path, device="cpu")
    assert comparison.run(devices=2).to_csv() == heavy().run().to_csv()
    assert comparison.rank == 3
    assert not torch.distributed.is_initialized()


@pytest.mark.parametrize(
    ("folder", "arguments", "text"),
    [
        (None, {}, "^Expected `output` with `devices`, because processes share work by files, but got None"),
        ("out", {"device": "cuda:1"}, "^Expected `device` without a number beside `devices`, such as 'cuda', but got"),
        ("out", {"device": "cpu", "strategy": "dpp"}, "strategy='dpp'"),
        ("out", {"device": "cpu", "devices": 0}, "devices"),
    ],
)
def test_what_is_refused(tmp_path, folder, arguments, text):
    arguments = {"devices": 2, "strategy": "auto", "device": None} | arguments
    compared = heavy(folder and tmp_path / folder, device=arguments.pop("device"))
    with pytest.raises(ValueError, match=text):
        compared.run(**arguments)
