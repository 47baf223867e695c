"""How a picture reaches each Lightning logger, or a folder."""

from lightning_xai.loggers.log_picture import LoggedPicture, PictureLoggingError, log_picture, scalar_name, scalar_step

__all__ = ["LoggedPicture", "PictureLoggingError", "log_picture", "scalar_name", "scalar_step"]
