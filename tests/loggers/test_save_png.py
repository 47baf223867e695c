import errno
import io
import os

import fsspec
import pytest
import torch
from PIL import Image

from lightning_xai.loggers import LoggedPicture
from lightning_xai.loggers.log_picture import save_png


def test_path_pixels_and_caption(tmp_path, picture, png_of):
    logged = LoggedPicture("xai/val 0/heatmaps", picture, caption="épreuve → 0.9", step=120, epoch=3)
    path = save_png(tmp_path / "new", logged)
    assert path == tmp_path / "new" / "xai" / "val 0" / "heatmaps" / "epoch=0003-step=00000120.png"
    assert torch.equal(png_of(path), picture)
    with Image.open(path) as image:
        assert image.text == {"Description": "épreuve → 0.9"}


def test_characters_a_file_system_may_refuse_become_underscores(tmp_path, picture):
    path = save_png(tmp_path, LoggedPicture('a:b*?"<>|\\/c', picture))
    assert path.parent == tmp_path / "a_b_______" / "c"


def test_the_same_moment_is_replaced(tmp_path, picture, png_of):
    save_png(tmp_path, LoggedPicture("grid", picture, step=7, epoch=1))
    path = save_png(tmp_path, LoggedPicture("grid", picture + 1, step=7, epoch=1))
    assert list(tmp_path.rglob("*.png")) == [path]
    assert torch.equal(png_of(path), picture + 1)


def test_pictures_of_a_remote_run(picture, png_of):
    url = save_png("memory://runs/a", LoggedPicture("xai/grid", picture, caption="two cats", step=7, epoch=1))
    assert url == "memory://runs/a/xai/grid/epoch=0001-step=00000007.png"
    content = fsspec.filesystem("memory").cat_file(url)
    assert torch.equal(png_of(io.BytesIO(content)), picture)
    with Image.open(io.BytesIO(content)) as image:
        assert image.text == {"Description": "two cats"}


def test_a_failing_disk_leaves_the_old_picture_whole(tmp_path, picture, png_of, monkeypatch):
    path = save_png(tmp_path, LoggedPicture("grid", picture, step=7, epoch=1))

    def full(_):
        raise OSError(errno.ENOSPC, "no space left")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space left"):
        save_png(tmp_path, LoggedPicture("grid", picture + 1, step=7, epoch=1))
    assert [file for file in tmp_path.rglob("*") if file.is_file()] == [path]
    assert torch.equal(png_of(path), picture)
