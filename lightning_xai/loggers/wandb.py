"""Pictures in Weights & Biases."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lightning_xai.loggers.record import PictureRecord

if TYPE_CHECKING:
    from lightning.pytorch.loggers import WandbLogger


def show_in_wandb(logger: WandbLogger, record: PictureRecord) -> None:
    """Add a picture and its caption to the media of a Weights & Biases run.

    The step goes through the logger, which writes it into the row as ``trainer/global_step``. Handed to
    ``wandb.log`` it would have to grow with every call, and whatever is behind would be dropped.
    """
    caption = {"caption": [record.caption]} if record.caption else {}
    logger.log_image(record.name, [record.pixels], step=record.step, **caption)
