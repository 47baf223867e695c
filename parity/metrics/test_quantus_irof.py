"""Our IROF against that of Quantus, which needs to be given segments, a replacement, and the lost `numpy.trapz`."""

import numpy as np
import pytest
import quantus
import torch
from quantus.helpers import utils

from lightning_xai._segments import superpixels
from lightning_xai.evidence.masking.masking_curve import area
from lightning_xai.functional import irof
from parity._setting import heatmaps
from parity.metrics._quantus import RAW, scored

COUNT, SIDE = 4, 36


def images(channels=1):
    """Return images with smooth parts, so that superpixels of very different sizes arise."""
    random = torch.Generator().manual_seed(3)
    return torch.nn.functional.interpolate(
        torch.randn(COUNT, channels, 5, 5, generator=random), (SIDE, SIDE), mode="bicubic"
    )


def maps():
    return torch.nn.functional.interpolate(heatmaps(COUNT)[:, None], (SIDE, SIDE), mode="bilinear")[:, 0]


def model(channels=1):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        net = torch.nn.Sequential(
            torch.nn.Conv2d(channels, 4, 3, 2), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(4 * 17 * 17, 3)
        )
        torch.nn.init.normal_(net[3].weight, std=0.1)
    return net.eval()


def confident(net, channels=1):
    return net(images(channels)).argmax(1)


def by_the_mean_of_each_image(original):
    """Return a replacement by the mean of each unchanged image, which the paper and we use."""
    mean = original.mean((2, 3), keepdim=True).numpy()
    return lambda arr, mask, **_: np.where(mask, mean, arr)


@pytest.fixture
def curves(monkeypatch):
    """Segments of ours for Quantus; and the curves of relative scores that it integrates, as it finds them."""
    found = []

    def segments(img, segmentation_method):
        return superpixels(torch.from_numpy(np.moveaxis(img, -1, 0)))[0].numpy()

    def spied(values, dx=1, batched=False):
        found.append(torch.from_numpy(values))
        return np.trapezoid(values, dx=dx, axis=1)

    monkeypatch.setattr(utils, "get_superpixel_segments", segments)
    monkeypatch.setattr(utils, "calculate_auc", spied)
    return found


def test_irof(curves):
    """IROF() = IROF(perturb_func=the image's own mean), of Quantus' curve with its first point, cut at 1, in [0, 1].

    With ceiling=None it is not cut.

    Segments are ours on both sides, ranked by their mean heat. Each image is asked alone, because Quantus fills the
    curve of an image with fewer segments with zeros.
    """
    net = model()
    ours = irof(net, images(), maps(), confident(net), num_steps="all")
    published = irof(net, images(), maps(), confident(net), ceiling=None, num_steps="all")
    for i in range(COUNT):
        curves.clear()
        one = slice(i, i + 1)
        metric = quantus.IROF(perturb_func=by_the_mean_of_each_image(images()[one]), return_aggregate=False, **RAW)
        theirs = scored(metric, images()[one], confident(net)[one], heatmaps=maps()[one], model=net, softmax=True)
        (curve,) = curves
        length = curve.shape[1]
        assert theirs[0] == pytest.approx(length - np.trapezoid(curve[0]))
        whole = torch.cat([torch.ones(1, 1), curve.float()], 1)
        assert ours[i].item() == pytest.approx(1 - area(whole.clamp(max=1.0)).item(), abs=1e-5)
        assert published[i].item() == pytest.approx(1 - area(whole).item(), abs=1e-5)
    assert len(ours.unique()) == COUNT
    assert ours.min() > 0.02
    assert ours.max() < 0.98


def test_difference_quantus_replaces_by_the_mean_of_all_images(curves):
    """Its default is the mean over the batch as changed so far, so that an image's number depends on its neighbours."""
    net = model()
    shifted = images() + torch.tensor([0.0, 3.0, 3.0, 3.0])[:, None, None, None]
    label = net(shifted).argmax(1)
    metric = quantus.IROF(return_aggregate=False, **RAW)
    given = {"model": net, "softmax": True}
    scored(metric, shifted[:1], label[:1], heatmaps=maps()[:1], **given)
    scored(metric, shifted, label, heatmaps=maps(), **given)
    alone, together = (curve[0, : curves[0].shape[1]] for curve in curves)
    assert (alone - together).abs().max() > 0.05
    ours = irof(net, shifted, maps(), label)
    assert ours[0].item() == pytest.approx(irof(net, shifted[:1], maps()[:1], label[:1]).item(), abs=1e-6)


def test_difference_quantus_takes_one_channel_only(curves):
    net = model(3)
    metric = quantus.IROF(return_aggregate=False, **RAW)
    with pytest.raises(AssertionError, match="same as the mask shape"):
        scored(metric, images(3), confident(net, 3), heatmaps=maps(), model=net, softmax=True)
    assert irof(net, images(3), maps(), confident(net, 3)).isfinite().all()


@pytest.mark.skipif(hasattr(np, "trapz"), reason="this NumPy has it")
def test_difference_quantus_needs_a_function_that_numpy_has_no_more():
    with pytest.raises(AttributeError, match="trapz"):
        scored(quantus.IROF(**RAW), images(), confident(model()), heatmaps=maps(), model=model(), softmax=True)
