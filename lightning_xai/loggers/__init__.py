"""How a picture reaches each Lightning logger, or a folder, and an alarm those that have words."""

from lightning_xai.loggers.log_alarm import AlarmLoggingError, LoggedAlarm, log_alarm
from lightning_xai.loggers.log_picture import LoggedPicture, PictureLoggingError, log_picture, scalar_name, scalar_step

__all__ = [
    "AlarmLoggingError",
    "LoggedAlarm",
    "LoggedPicture",
    "PictureLoggingError",
    "log_alarm",
    "log_picture",
    "scalar_name",
    "scalar_step",
]
