"""Our randomization metrics against those of Quantus, on the same random parameters and classes."""

from types import SimpleNamespace

import numpy as np
import pytest
import quantus
import torch
from quantus.functions.similarity_func import correlation_spearman
from skimage.metrics import structural_similarity

from lightning_xai import Case
from lightning_xai.evidence.models.class_heatmaps import ClassHeatmaps
from lightning_xai.functional import efficient_parameter_randomization, parameter_randomization, random_logit
from lightning_xai.model import randomized
from parity._setting import CLASSES, SIDE, InputTimesGradient, close, images, network, target
from parity.metrics._quantus import RAW, explained_by, scored

SEED, LAYERS = 7, 4


def ours(net, **settings):
    return parameter_randomization(net, images(), InputTimesGradient(), target(), **settings)


def by_quantus(net, **settings):
    metric = quantus.MPRT(seed=SEED, **settings, **RAW)
    metric(
        model=net,
        x_batch=images().numpy(),
        y_batch=target().numpy(),
        explain_func=explained_by(InputTimesGradient()),
        channel_first=True,
    )
    return metric.evaluation_scores


@pytest.fixture
def same_parameters(monkeypatch):
    """Our seed of every layer is the one that Quantus uses for every layer, so that the same parameters come."""
    monkeypatch.setattr(randomized, "zlib", SimpleNamespace(crc32=lambda _: SEED + 1))


@pytest.mark.parametrize("order", ["top_down", "bottom_up", "independent"])
def test_parameter_randomization(order, same_parameters):
    """ParameterRandomization() = MPRT(similarity_func=spearman): the mean over the steps without the intact model.

    Each of the four layers is a step of its own; all have ``reset_parameters``, so Quantus redraws all of them.
    """
    found = by_quantus(network(), layer_order=order)
    assert len(found) == 1 + LAYERS
    steps = torch.tensor([values for name, values in found.items() if name != "original"])
    close(ours(network(), order=order), steps.double().mean(0))
    assert steps.std(0).min() > 0.01


def test_difference_quantus_averages_the_intact_model_in(same_parameters):
    """Its average holds the similarity of the map to itself, 1, as one more step."""
    average = by_quantus(network(), return_average_correlation=True)
    close(ours(network()), (torch.tensor(average) * (LAYERS + 1) - 1) / LAYERS)


def test_efficient_parameter_randomization(same_parameters):
    """EfficientParameterRandomization() = EfficientMPRT(): relative rise of the entropy of a histogram of 100 bins."""
    metric = quantus.EfficientMPRT(seed=SEED, **RAW)
    theirs = scored(metric, images(), target(), model=network(), explainer=InputTimesGradient())
    close(efficient_parameter_randomization(network(), images(), InputTimesGradient(), target()), theirs)


class Scaled(torch.nn.Module):
    """A network with a parameter that no ``reset_parameters`` knows."""

    def __init__(self):
        super().__init__()
        self.net = network()
        self.gain = torch.nn.Parameter(torch.randn(3, SIDE, SIDE, generator=torch.Generator().manual_seed(1)))

    def forward(self, given):
        return self.net(given * self.gain)


def test_difference_quantus_leaves_loose_parameters_alone(same_parameters):
    """It redraws modules that have ``reset_parameters`` only; ours redraws every parameter, in a step of its own."""
    assert len(by_quantus(Scaled().eval(), layer_order="bottom_up")) == 1 + LAYERS
    seen = []
    with randomized.randomized(model := Scaled().eval(), "bottom_up") as steps:
        before = model.gain.clone()
        for _ in steps:
            seen.append(bool((model.gain == before).all()))
    assert seen == [False] * (LAYERS + 1)


def two_dimensional(a: np.ndarray, b: np.ndarray, batched: bool) -> list[float]:
    """Return scikit-image's SSIM of min-max normalised maps, gaussian windows, borders mirrored about their pixels."""
    values, border = [], 10
    for pair in zip(a, b, strict=True):
        maps = [((m - m.min()) / np.ptp(m)).reshape(SIDE, SIDE).astype(np.float64) for m in pair]
        _, local = structural_similarity(
            *(np.pad(m, border, mode="reflect") for m in maps),
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            data_range=1.0,
            full=True,
        )
        values.append(float(local[border:-border, border:-border].mean()))
    return values


@pytest.fixture
def same_classes(monkeypatch):
    """The other class of each image, drawn by us, as a place among those that are not the target."""
    case = Case(network(), images(), target(), explainer=InputTimesGradient())
    other = case[ClassHeatmaps(1, "seed", "others", 0)].classes[:, 0]
    places = (other - (other > target()).long()).numpy()
    monkeypatch.setattr(np.random, "randint", lambda *_, **__: places)
    return other


@pytest.mark.parametrize(("similarity", "function"), [("spearman", correlation_spearman), ("ssim", two_dimensional)])
def test_random_logit(similarity, function, same_classes):
    """RandomLogit(similarity) = RandomLogit(similarity_func) with the same other classes."""
    metric = quantus.RandomLogit(num_classes=CLASSES, similarity_func=function, **RAW)
    theirs = scored(metric, images(), target(), model=network(), explainer=InputTimesGradient())
    close(random_logit(network(), images(), InputTimesGradient(), target(), similarity=similarity), theirs)
    assert len(same_classes.unique()) > 1


def test_difference_quantus_compares_rows_of_pixels(same_classes):
    """By default its SSIM slides over the flattened map, where one row's end touches the next row's start."""
    default = quantus.RandomLogit(num_classes=CLASSES, **RAW)
    theirs = scored(default, images(), target(), model=network(), explainer=InputTimesGradient())
    found = random_logit(network(), images(), InputTimesGradient(), target())
    assert np.abs(theirs - found.numpy()).max() > 0.02
