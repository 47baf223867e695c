"""A table that grows by a row per epoch: how good the model is, and how good its explanations are."""

from collections.abc import Mapping

import lightning as L
from rich import box, get_console
from rich.live import Live
from rich.table import Table
from typing_extensions import override

from lightning_xai import ExplanationMonitor

COLUMNS = {
    "accu-\nracy ↑": "val_accuracy",
    "gain over\nrandom ↑": "xai/faithfulness_gain",
    "skill ↑": "xai/faithfulness_skill",
    "faithful-\nness ↑": "xai/faithfulness",
    "pointing\ngame ↑": "xai/pointing_game",
    "max\nsens. ↓": "xai/max_sensitivity",
    "sec-\nonds": "xai/seconds",
}
WITH_ERROR = ("xai/faithfulness", "xai/faithfulness_gain", "xai/faithfulness_skill")


class EpochTable(L.Callback):
    """Show the monitor's history beside the accuracy: live on a terminal, once at the end everywhere.

    Attributes:
        rows: One per epoch: the monitor's row and ``val_accuracy``.
    """

    def __init__(self, monitor: ExplanationMonitor, title: str) -> None:
        self.monitor = monitor
        self.rows: list[dict[str, float]] = []
        self._table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
        for name in ("epoch", *COLUMNS):
            self._table.add_column(name, justify="right", vertical="bottom", no_wrap=True)
        self._live = Live(self._table, auto_refresh=False, transient=True)

    @override
    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._live.start()

    @override
    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.sanity_checking:
            return
        row = {**self.monitor.history[-1], "val_accuracy": float(trainer.callback_metrics["val_accuracy"])}
        self.rows.append(row)
        self._table.add_row(str(trainer.current_epoch), *(_cell(row, key) for key in COLUMNS.values()))
        self._live.refresh()

    @override
    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._live.stop()
        get_console().print(self._table)

    @override
    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        self._live.stop()


def _cell(row: Mapping[str, float], key: str) -> str:
    if key not in row:
        return "–"
    if key == "xai/seconds":
        return f"{row[key]:.1f}"
    value = f"{row[key]:.2f}".replace("-0.00", "0.00")
    error = row.get(f"{key}_se") if key in WITH_ERROR else None
    return value if error is None else value + f" ±{error:.2f}".replace("±0.", "±.")
