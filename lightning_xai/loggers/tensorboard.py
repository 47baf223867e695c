"""Pictures and texts in TensorBoard, and charts that hold several of its scalars."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lightning_xai.loggers.files import is_folder, joined
from lightning_xai.loggers.log_picture import as_png, scalar_name

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from lightning_xai._lightning import TensorBoardLogger
    from lightning_xai.loggers.log_alarm import LoggedAlarm
    from lightning_xai.loggers.log_picture import LoggedPicture

_TORCH = "torch.utils.tensorboard.writer"


def log_to_tensorboard(logger: TensorBoardLogger, logged: LoggedPicture) -> None:
    """Add a picture to the images of a TensorBoard run, or its pages; they have no place for a caption."""
    name = scalar_name(logger, logged.name)
    for number, pixels in enumerate(logged.pixels_of_pages, start=1):
        _add_image(logger.experiment, name if number == 1 else f"{name}_{number}", pixels, logged.step)


def _add_image(writer: Any, tag: str, pixels: NDArray[np.uint8], step: int) -> None:
    """Do what ``writer.add_image`` does, whose own packing took a tenth of what explaining a small model costs."""
    events = getattr(writer, "file_writer", None)  # None once closed, until something is added
    if events is None or type(events).__module__ != _TORCH:  # tensorboardX, or a stand-in
        writer.add_image(tag, pixels, step, dataformats="HWC")
        return
    from tensorboard.compat.proto.summary_pb2 import Summary

    height, width, colours = pixels.shape
    image = Summary.Image(height=height, width=width, colorspace=colours, encoded_image_string=as_png(pixels))
    events.add_summary(Summary(value=[Summary.Value(tag=tag, image=image)]), step)


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
