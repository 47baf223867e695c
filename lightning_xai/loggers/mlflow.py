"""Pictures in MLflow."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from lightning_xai.loggers.log_picture import scalar_name

if TYPE_CHECKING:
    from lightning_xai._lightning import MLFlowLogger
    from lightning_xai.loggers.log_picture import LoggedPicture


def log_to_mlflow(logger: MLFlowLogger, logged: LoggedPicture) -> None:
    """Add a picture to the time-stepped images of an MLflow run; they have no place for a caption.

    Characters that MLflow refuses in names are dropped, as Lightning drops them from the names of scalars.
    """
    key = re.sub(r"[^a-zA-Z0-9_/. -]+", "", scalar_name(logger, logged.name))
    logger.experiment.log_image(logger.run_id, logged.pixels, key=key, step=logged.step)
