"""Pictures in TensorBoard."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lightning_xai.loggers.record import PictureRecord
from lightning_xai.loggers.scalars import scalar_name

if TYPE_CHECKING:
    from lightning.pytorch.loggers import TensorBoardLogger


def show_in_tensorboard(logger: TensorBoardLogger, record: PictureRecord) -> None:
    """Add a picture to the images of a TensorBoard run; they have no place for a caption."""
    name = scalar_name(logger, record.name)
    logger.experiment.add_image(name, record.pixels, record.step, dataformats="HWC")
