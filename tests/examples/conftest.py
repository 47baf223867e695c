import importlib
import logging
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

EXAMPLES = Path(__file__).parents[2] / "examples"
QUIETENED = ("lightning.pytorch", "lightning.fabric")


@pytest.fixture
def example(monkeypatch, tmp_path, capsys):
    """Run an example in this process, its output below ``tmp_path``; return what it printed."""
    monkeypatch.syspath_prepend(EXAMPLES)
    monkeypatch.setenv("PL_GLOBAL_SEED", "0")
    levels = {name: logging.getLogger(name).level for name in QUIETENED}

    def run(name, *arguments):
        importlib.import_module(name).main([*arguments, "--output", str(tmp_path)])
        return capsys.readouterr().out

    yield run
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


@pytest.fixture
def events():
    """Read the event files of a folder back as TensorBoard does."""

    def read(folder):
        return EventAccumulator(str(folder), size_guidance={"images": 0, "scalars": 0}).Reload()

    return read
