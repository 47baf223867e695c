"""How a picture reaches each Lightning logger, or a folder."""

from lightning_xai.loggers.log_picture import PictureLoggingError, log_picture
from lightning_xai.loggers.record import PictureRecord
from lightning_xai.loggers.scalars import scalar_name, scalar_step

__all__ = ["PictureLoggingError", "PictureRecord", "log_picture", "scalar_name", "scalar_step"]
