import io

import pytest
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

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
