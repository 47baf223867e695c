"""Pictures, tables and alerts in Weights & Biases."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lightning_xai._lightning import WandbLogger
    from lightning_xai.loggers.log_alarm import LoggedAlarm
    from lightning_xai.loggers.log_picture import LoggedPicture
    from lightning_xai.loggers.log_table import Cell, LoggedTable

_LONGEST_TITLE = 63  # letters of an alert's


def log_to_wandb(logger: WandbLogger, logged: LoggedPicture) -> None:
    """Add a picture and its caption to the media of a Weights & Biases run.

    The step goes through the logger, which writes it into the row as ``trainer/global_step``. Handed to
    ``wandb.log`` it would have to grow with every call, and whatever is behind would be dropped.
    """
    caption = {"caption": [logged.caption]} if logged.caption else {}
    logger.log_image(logged.name, [logged.pixels], step=logged.step, **caption)


def log_table_to_wandb(logger: WandbLogger, table: LoggedTable) -> None:
    """Add a table to a Weights & Biases run: a new one for every epoch, below one name."""
    data = [[_cell(cell) for cell in row] for row in table.rows]
    logger.log_table(table.name, columns=list(table.columns), data=data, step=table.step)


def _cell(cell: Cell) -> Any:
    """Return a cell as Weights & Biases takes it: a picture with its overlays and boxes."""
    import wandb

    from lightning_xai.loggers.log_table import TablePicture

    if not isinstance(cell, TablePicture):
        return cell
    masks = {
        name: {"mask_data": overlay.numpy(), "class_labels": dict(cell.overlay_classes.get(name, {}))}
        for name, overlay in cell.overlays.items()
    }
    corners = [[float(edge) for edge in box] for box in cell.boxes]
    boxes = [
        {"position": {"minX": x0, "minY": y0, "maxX": x1, "maxY": y1}, "class_id": 1, "domain": "pixel"}
        for x0, y0, x1, y1 in corners
    ]
    annotated = {"annotation": {"box_data": boxes, "class_labels": {1: "annotation"}}} if boxes else None
    return wandb.Image(cell.picture.numpy(), masks=masks or None, boxes=annotated)


def alert_wandb(logger: WandbLogger, alarm: LoggedAlarm) -> None:
    """Send sentences as an alert of a Weights & Biases run; an offline run keeps it until it is synchronised.

    The title names the cause first: of several alerts of one title within a minute only the first is sent.
    """
    logger.experiment.alert(title=f"{alarm.cause}: {alarm.name}"[:_LONGEST_TITLE], text=alarm.text, level="WARN")
