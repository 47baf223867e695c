"""Pictures in TensorBoard."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lightning_xai.loggers.log_picture import scalar_name

if TYPE_CHECKING:
    from lightning_xai._lightning import TensorBoardLogger
    from lightning_xai.loggers.log_picture import LoggedPicture


def log_to_tensorboard(logger: TensorBoardLogger, logged: LoggedPicture) -> None:
    """Add a picture to the images of a TensorBoard run; they have no place for a caption."""
    name = scalar_name(logger, logged.name)
    logger.experiment.add_image(name, logged.pixels, logged.step, dataformats="HWC")
