"""Pictures and texts in TensorBoard, and charts that hold several of its scalars."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from lightning_xai.loggers.files import is_folder, joined
from lightning_xai.loggers.log_picture import scalar_name

if TYPE_CHECKING:
    from lightning_xai._lightning import TensorBoardLogger
    from lightning_xai.loggers.log_alarm import LoggedAlarm
    from lightning_xai.loggers.log_picture import LoggedPicture


def log_to_tensorboard(logger: TensorBoardLogger, logged: LoggedPicture) -> None:
    """Add a picture to the images of a TensorBoard run, or its pages; they have no place for a caption."""
    name = scalar_name(logger, logged.name)
    for number, page in enumerate(logged.pages or (logged.picture,), start=1):
        pixels = page.detach().cpu().contiguous().numpy()
        logger.experiment.add_image(name if number == 1 else f"{name}_{number}", pixels, logged.step, dataformats="HWC")


def write_to_tensorboard(logger: TensorBoardLogger, alarm: LoggedAlarm) -> None:
    """Add sentences to the texts of a TensorBoard run, and write them out: the run may end soon."""
    logger.experiment.add_text(scalar_name(logger, alarm.name), alarm.text, alarm.step)
    logger.experiment.flush()


def chart_together(logger: TensorBoardLogger, prefix: str, charts: Mapping[str, Sequence[str]]) -> None:
    """Let TensorBoard draw scalars in one chart each, below *Custom Scalars*, from now on; a second call does nothing.

    A run has one such layout, the last one written: ours would replace the user's own, so it goes to a run of its own,
    ``<prefix>_charts``, below the logger's; TensorBoard shows the layouts of all runs.

    Args:
        logger: Whose scalars are meant.
        prefix: Of the keys; the title above the charts.
        charts: Title of a chart -> keys of its scalars.
    """
    folder = joined(logger.log_dir, f"{prefix.replace('/', '_')}_charts")
    if is_folder(folder):
        return
    layout = {
        title: ["Multiline", [f"^{re.escape(scalar_name(logger, key))}$" for key in keys]]
        for title, keys in charts.items()
    }
    writer = type(logger.experiment)(log_dir=str(folder))
    try:
        writer.add_custom_scalars({prefix: layout})
    finally:
        writer.close()
