import io
from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lightning_xai.loggers import LoggedPicture
from lightning_xai.loggers.tensorboard import log_to_tensorboard

_NAME = "xai/heatmaps"


@pytest.mark.parametrize("prefix", ["", "run"])
def test_pictures_stand_beside_the_scalars(fit, tmp_path, picture, png_of, prefix):
    logger = TensorBoardLogger(tmp_path, name="tb", prefix=prefix)
    callback, _ = fit(logger, caption="no place for it", directory=tmp_path / "pictures")
    events = EventAccumulator(logger.log_dir, size_guidance={"images": 0}).Reload()
    before = f"{prefix}-" if prefix else ""
    assert events.Tags()["images"] == [f"{before}{_NAME}"]
    images, scalars = events.Images(f"{before}{_NAME}"), events.Scalars(f"{before}score")
    assert [image.step for image in images] == [scalar.step for scalar in scalars] == [2, 5]
    for epoch, image in enumerate(images):
        assert torch.equal(png_of(io.BytesIO(image.encoded_image_string)), picture + epoch)
    assert callback.written == [[], []]
    assert not (tmp_path / "pictures").exists()


def test_a_closed_writer_and_one_of_another_package_take_pictures(tmp_path, picture, png_of):
    logger = TensorBoardLogger(tmp_path)
    logger.experiment.close()
    log_to_tensorboard(logger, LoggedPicture(_NAME, picture, step=1))
    log_to_tensorboard(logger, LoggedPicture(_NAME, picture + 1, step=2))
    logger.experiment.flush()
    images = EventAccumulator(logger.log_dir).Reload().Images(_NAME)
    assert [(image.step, image.height, image.width) for image in images] == [
        (step, *picture.shape[:2]) for step in (1, 2)
    ]
    for epoch, image in enumerate(images):
        assert torch.equal(png_of(io.BytesIO(image.encoded_image_string)), picture + epoch)

    added = []
    foreign = SimpleNamespace(file_writer=io.BytesIO(), add_image=lambda *given, dataformats: added.append(given))
    log_to_tensorboard(SimpleNamespace(experiment=foreign), LoggedPicture(_NAME, picture, step=1))  # as of tensorboardX
    ((name, pixels, step),) = added
    assert (name, step) == (_NAME, 1)
    assert torch.equal(torch.from_numpy(pixels), picture)
