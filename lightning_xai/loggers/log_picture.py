"""One call that brings a picture to every logger of a Trainer, or to a folder, beside Lightning's own scalars.

Their step and their names are private attributes of Lightning. This is the only file of the package that reads them,
and ``tests/loggers/test_scalars.py`` names the versions in which they were found.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightning_xai._lightning import loaded
from lightning_xai.loggers.files import joined, write_file

if TYPE_CHECKING:
    from PIL.PngImagePlugin import PngInfo

    from lightning_xai._lightning import Logger, Trainer


_RUN_LENGTHS = 3  # zlib's strategy Z_RLE: as small as by Pillow's own choice, and written four times as fast


class PictureLoggingError(RuntimeError):
    """A picture did not reach every place it was meant for; the message names the places and why."""


def log_picture(
    trainer: Trainer,
    name: str,
    picture: Tensor | Callable[[], Tensor],
    *,
    caption: str = "",
    directory: str | Path | None = None,
    files: bool = False,
    moment: tuple[int, int] | None = None,
    pages: Sequence[Tensor] = (),
) -> list[str | Path]:
    """Log a picture to every logger of a Trainer that has a place for pictures, else write it to a folder.

    TensorBoard, Weights & Biases and MLflow loggers (and their subclasses) file it at the step of Lightning's own
    scalars. If none did, because there is none or because all failed, a PNG goes to ``directory``. It may be called on
    any rank, acts on rank zero, and never communicates.

    Args:
        trainer: The Trainer whose loggers are used, at the current step and epoch.
        name: Words separated by slashes, such as ``"xai/heatmaps"``; the same in every epoch.
        picture: uint8, shape (H, W, 3), any device; or a function that draws it, called if anyone takes it whole.
        caption: Displayed by Weights & Biases and written into PNG files; other loggers have no place for it.
        directory: Where PNG files go, the name as folders: a local one, or a URL such as ``s3://bucket/run``; None to
            write none.
        files: Whether a PNG goes there beside the loggers, too.
        moment: Epoch and step that the picture is of; the Trainer's own if None.
        pages: The same in parts, like ``picture``, for loggers that show pictures on small cards: TensorBoard.

    Returns:
        The files written by this call, URLs where ``directory`` is one.

    Raises:
        TypeError: If ``picture`` is not uint8.
        ValueError: If ``picture`` is not (H, W, 3) or ``name`` cannot be a path.
        PictureLoggingError: If a logger or the folder failed, after all others got the picture.

    """
    if not trainer.is_global_zero:
        return []
    epoch, step = moment or (trainer.current_epoch, scalar_step(trainer))
    logged = LoggedPicture(name, picture, caption, step=step, epoch=epoch, pages=tuple(pages))
    failures: list[tuple[str, Exception]] = []
    written: list[str | Path] = []
    reached = [_reach(logger, logged, failures) for logger in trainer.loggers]
    if directory is not None and (files or not any(reached)):
        try:
            written = [save_png(directory, logged)]
        except Exception as error:  # remote filesystems have errors of their own
            failures.append((f"the folder {directory}", error))
    if failures:
        raise PictureLoggingError(_report(name, failures)) from failures[0][1]
    return written


def _reach(logger: Logger, picture: LoggedPicture, failures: list[tuple[str, Exception]]) -> bool:
    """Hand a picture to a logger that has a place for it, note what goes wrong, and return whether it arrived."""
    log = _function_for(logger)
    if log is None:
        return False
    try:
        log(logger, picture)
    except Exception as error:
        failures.append((type(logger).__name__, error))
        return False
    return True


@dataclass(frozen=True)
class LoggedPicture:
    """A picture with its name and its place in training; each logger takes what it has a place for.

    Args:
        name: Words separated by slashes, such as ``"xai/heatmaps"``; the same in every epoch.
        picture: uint8, shape (H, W, 3), any device; or a function that draws it, called if anyone takes it whole.
        caption: A line about the picture; empty for none.
        step: Position on the x-axis of Lightning's own scalars.
        epoch: Number of the epoch, from 0.
        pages: The picture in parts, for small cards; none where it is small itself.

    Raises:
        TypeError: If ``picture`` is not uint8.
        ValueError: If ``picture`` is not (H, W, 3) or ``name`` is empty or has an empty, ``.`` or ``..`` part.

    Example:
        >>> LoggedPicture("xai/heatmaps", torch.zeros(4, 6, 3, dtype=torch.uint8), step=7).pixels.shape
        (4, 6, 3)

    """

    name: str
    picture: Tensor | Callable[[], Tensor]
    caption: str = ""
    step: int = 0
    epoch: int = 0
    pages: tuple[Tensor, ...] = ()

    def __post_init__(self) -> None:
        if any(part.strip() in {"", ".", ".."} for part in self.name.split("/")):
            raise ValueError(
                f'Expected `name` to be words separated by slashes, such as "xai/heatmaps", but got "{self.name}".'
            )
        if isinstance(self.picture, Tensor):
            _pixels(self.picture)

    @cached_property
    def pixels(self) -> NDArray[np.uint8]:
        """The picture as an array: uint8, shape (H, W, 3)."""
        return _pixels(self.picture if isinstance(self.picture, Tensor) else self.picture())

    @property
    def pixels_of_pages(self) -> list[NDArray[np.uint8]]:
        """The pages as arrays like `pixels`; the picture itself where it has none."""
        return [_pixels(page) for page in self.pages] or [self.pixels]


def save_png(directory: str | Path, logged: LoggedPicture) -> str | Path:
    """Write a picture to ``directory/<name>/epoch=0003-step=00000120.png``, the caption in its description.

    Slashes in the name become folders; characters that a file system may refuse become underscores. A picture of the
    same name, epoch and step is replaced.

    Returns:
        The path of the file.

    """
    from PIL import PngImagePlugin

    folders = [re.sub(r"[^\w.= -]", "_", part) for part in logged.name.split("/")]
    path = joined(directory, *folders, f"epoch={logged.epoch:04d}-step={logged.step:08d}.png")
    description = PngImagePlugin.PngInfo()
    if logged.caption:
        description.add_itxt("Description", logged.caption)
    write_file(path, as_png(logged.pixels, description))
    return path


def as_png(pixels: NDArray[np.uint8], description: PngInfo | None = None) -> bytes:
    """Return pixels, uint8 (H, W, 3), as a PNG file."""
    from PIL import Image

    encoded = io.BytesIO()
    Image.fromarray(pixels).save(encoded, format="PNG", pnginfo=description, compress_type=_RUN_LENGTHS)
    return encoded.getvalue()


def _pixels(picture: Tensor) -> NDArray[np.uint8]:
    if picture.dtype != torch.uint8:
        raise TypeError(f"Expected `picture` to have dtype torch.uint8, but got {picture.dtype}.")
    if picture.ndim != 3 or picture.shape[2] != 3:
        raise ValueError(f"Expected `picture` to have shape (H, W, 3), but got {tuple(picture.shape)}.")
    array: NDArray[np.uint8] = picture.detach().cpu().contiguous().numpy()
    return array


def _function_for(logger: Logger) -> Callable[[Any, LoggedPicture], None] | None:
    """Find how a logger takes pictures, None if it cannot; Lightning's classes import no tracking library."""
    from lightning_xai.loggers.mlflow import log_to_mlflow
    from lightning_xai.loggers.tensorboard import log_to_tensorboard
    from lightning_xai.loggers.wandb import log_to_wandb

    functions: dict[str, Callable[[Any, LoggedPicture], None]] = {
        "loggers.TensorBoardLogger": log_to_tensorboard,
        "loggers.WandbLogger": log_to_wandb,
        "loggers.MLFlowLogger": log_to_mlflow,
    }
    return next((function for name, function in functions.items() if isinstance(logger, loaded(name))), None)


def _report(name: str, failures: list[tuple[str, Exception]]) -> str:
    reasons = "; ".join(f"{place}: {type(error).__name__}: {error}" for place, error in failures)
    return f'Expected the picture "{name}" to be logged everywhere, but it failed for {reasons}.'


def scalar_step(trainer: Trainer) -> int:
    """Give the position on the x-axis at which Lightning logs the scalars of this moment.

    It counts batches after which the optimizer stepped. ``trainer.global_step`` runs ahead of it (by one during the
    validation of a fit) and counts every optimizer by itself; it is used where this Lightning has no such counter.
    """
    loop = getattr(getattr(trainer, "fit_loop", None), "epoch_loop", None)
    return int(getattr(loop, "_batches_that_stepped", trainer.global_step))


def scalar_name(logger: Logger, name: str) -> str:
    """Give the name under which a logger files a scalar called ``name``: behind the ``prefix`` it was made with."""
    prefix = getattr(logger, "_prefix", None)
    return f"{prefix}{getattr(logger, 'LOGGER_JOIN_CHAR', '-')}{name}" if prefix else name
