"""Pictures in TensorBoard."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lightning_xai.loggers.log_picture import scalar_name

if TYPE_CHECKING:
    from lightning_xai._lightning import TensorBoardLogger
    from lightning_xai.loggers.log_picture import LoggedPicture


def log_to_tensorboard(logger: TensorBoardLogger, logged: LoggedPicture) -> None:
    """Add a picture to the images of a TensorBoard run, or its pages; they have no place for a caption."""
    name = scalar_name(logger, logged.name)
    for number, page in enumerate(logged.pages or (logged.picture,), start=1):
        pixels = page.detach().cpu().contiguous().numpy()
        logger.experiment.add_image(name if number == 1 else f"{name}_{number}", pixels, logged.step, dataformats="HWC")
