"""Pictures in Weights & Biases."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lightning_xai._lightning import WandbLogger
    from lightning_xai.loggers.log_picture import LoggedPicture


def log_to_wandb(logger: WandbLogger, logged: LoggedPicture) -> None:
    """Add a picture and its caption to the media of a Weights & Biases run.

    The step goes through the logger, which writes it into the row as ``trainer/global_step``. Handed to
    ``wandb.log`` it would have to grow with every call, and whatever is behind would be dropped.
    """
    caption = {"caption": [logged.caption]} if logged.caption else {}
    logger.log_image(logged.name, [logged.pixels], step=logged.step, **caption)
