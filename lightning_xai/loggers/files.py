"""Pictures in a folder, for training without a logger that can show them."""

from __future__ import annotations

import re
from pathlib import Path

from lightning_xai.loggers.record import PictureRecord


def save_png(directory: Path, record: PictureRecord) -> Path:
    """Write a picture to ``directory/<name>/epoch=0003-step=00000120.png``, the caption in its description.

    Slashes in the name become folders; characters that a file system may refuse become underscores. A picture of the
    same name, epoch and step is replaced.

    Returns:
        The path of the file.

    """
    from PIL import Image, PngImagePlugin

    folder = directory.joinpath(*(re.sub(r"[^\w.= -]", "_", part) for part in record.name.split("/")))
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"epoch={record.epoch:04d}-step={record.step:08d}.png"
    description = PngImagePlugin.PngInfo()
    if record.caption:
        description.add_itxt("Description", record.caption)
    Image.fromarray(record.pixels).save(path, pnginfo=description)
    return path
