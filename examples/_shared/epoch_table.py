"""A table that grows by a row per epoch: how good the model is, and how good its explanations are."""

from collections.abc import Mapping
from typing import Any

import lightning as L
from rich.console import Console
from rich.live import Live
from rich.table import Table

from lightning_xai import ExplanationMonitor

COLUMNS = {
    "accuracy": "val_accuracy",
    "faithfulness": "xai/faithfulness",
    "gain over random": "xai/faithfulness_gain",
    "pointing game": "xai/pointing_game",
    "rank accuracy": "xai/relevance_rank_accuracy",
    "drift": "xai/heatmap_drift",
    "max sensi\u00adtivity": "xai/max_sensitivity",
    "seconds": "xai/seconds",
}
WITH_ERROR = {"xai/faithfulness", "xai/faithfulness_gain"}


class EpochTable(L.Callback):
    """Show the monitor's history beside the accuracy, live on a terminal, once at the end elsewhere."""

    def __init__(self, monitor: ExplanationMonitor, title: str) -> None:
        self.monitor = monitor
        self.rows: list[dict[str, float]] = []
        self._table = Table(title=title, header_style="bold", title_justify="left")
        for name in ("epoch", *COLUMNS):
            self._table.add_column(name, justify="right", vertical="bottom")
        self._live = Live(self._table, console=Console(), auto_refresh=False)

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._live.start()

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.sanity_checking:
            return
        row = {**self.monitor.history[-1], "val_accuracy": float(trainer.callback_metrics["val_accuracy"])}
        self.rows.append(row)
        self._table.add_row(str(trainer.current_epoch), *(_cell(row, key) for key in COLUMNS.values()))
        self._live.refresh()

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._live.stop()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        self._live.stop()


def _cell(row: Mapping[str, Any], key: str) -> str:
    if key not in row:
        return "–"
    if key == "xai/seconds":
        return f"{row[key]:.1f}"
    error = f" ± {row[key + '_se']:.2f}" if key in WITH_ERROR and key + "_se" in row else ""
    return f"{row[key]:.2f}{error}"
