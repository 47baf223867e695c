"""`Readout(precision="bf16")`: masking curves, the unchanged image with them, and nothing else."""

from contextlib import nullcontext

import pytest
import torch
from torch import nn

from lightning_xai import Case, Classifier, GradCAM, MaskingCurve, Readout
from lightning_xai.evidence import ImputationCurve, OcclusionMap, SuperpixelCurve
from lightning_xai.evidence.masking.masking_curve import MaskedImages
from lightning_xai.metrics import (
    IROF,
    ROAD,
    FaithfulnessSkill,
    InsertionDeletion,
    MaxSensitivity,
    RelativeFaithfulness,
    RelativeOutputStability,
)
from tests._nets import ConvNet, TinyViT, differences, state_of

SIZE = 16
IMAGES = torch.rand(5, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))
HEATMAPS = torch.rand(5, SIZE, SIZE, generator=torch.Generator().manual_seed(2))
TARGET = torch.arange(5) % 4
BF16 = Readout(precision="bf16")


class Noting(nn.Module):
    """Notes whether it runs in autocast, with how many images, with or without gradients."""

    def __init__(self):
        super().__init__()
        self.net = ConvNet()

    def forward(self, x):
        SEEN.append((torch.is_autocast_enabled("cpu"), torch.is_grad_enabled(), len(x)))
        return 20.0 * self.net(x)


SEEN = []


@pytest.fixture(autouse=True)
def _fresh():
    SEEN.clear()


def case_of(net, readout=BF16, **settings):
    if not settings:
        settings = {"explainer": GradCAM(), "heatmaps": HEATMAPS}
    return Case(Classifier(net, readout, chunk_size=4), IMAGES, TARGET, **settings)


def in_bf16(net, images):
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        return net(images).float()


@pytest.mark.parametrize("make", [Noting, lambda: TinyViT((SIZE, SIZE))])
@pytest.mark.parametrize("direction", ["insertion", "deletion"])
def test_a_curve_is_that_of_the_model_in_autocast(make, direction):
    net = make().eval()
    curve, case = MaskingCurve(direction, num_steps=6), case_of(net)
    found = case[curve]
    images = MaskedImages(curve, case)
    for index, target in enumerate(TARGET.tolist()):
        changed = images.at(torch.full((7,), index), torch.arange(7))
        rows = torch.cat([in_bf16(net, one[None]) for one in changed]).softmax(1)[:, target]
        torch.testing.assert_close(found[index], rows, rtol=0.01, atol=0.01)
        clean = 0 if direction == "deletion" else -1
        assert (
            found[index, clean] == in_bf16(net, IMAGES[:4] if index < 4 else IMAGES[4:])[index % 4].softmax(0)[target]
        )
    assert not torch.equal(found, case_of(net, Readout())[curve])
    torch.testing.assert_close(found, case_of(net, Readout())[curve], rtol=0.05, atol=0.05)


@pytest.mark.parametrize(
    "evidence",
    [
        MaskingCurve(),
        MaskingCurve(num_steps="auto"),
        SuperpixelCurve(),
        ImputationCurve((20.0, 50.0)),
    ],
    ids=lambda one: type(one).__name__,
)
def test_every_evaluation_of_it_is_lowered(evidence):
    net = Noting()
    case = case_of(net, heatmaps=HEATMAPS)
    case[evidence]
    assert SEEN
    assert {autocast for autocast, *_ in SEEN} == {True}
    lowered = sum(count for *_, count in SEEN)
    SEEN.clear()
    case = case_of(net, Readout(), heatmaps=HEATMAPS)
    case[evidence]
    assert not any(autocast for autocast, *_ in SEEN)
    if getattr(evidence, "num_steps", None) != "auto":  # its points are chosen by the values
        assert sum(count for *_, count in SEEN) == lowered


def test_logits_heatmaps_and_neighbours_are_not():
    net = Noting().eval()
    lowered, usual = case_of(net), case_of(net, Readout())
    assert torch.equal(lowered.logits, usual.logits)
    assert torch.equal(*(GradCAM()(case.classifier, IMAGES, TARGET) for case in (lowered, usual)))
    metric = MaxSensitivity(num_samples=2)
    torch.testing.assert_close(metric.score(lowered), metric.score(usual), rtol=0, atol=0, equal_nan=True)
    relative = RelativeOutputStability(num_samples=2)  # reads the logits of neighbours
    assert torch.equal(*(OcclusionMap((2, 2)).drops(case) for case in (lowered, usual)))  # small falls would drown
    torch.testing.assert_close(relative.score(lowered), relative.score(usual), rtol=0, atol=0, equal_nan=True)
    assert not any(autocast for autocast, *_ in SEEN)
    assert not torch.equal(lowered.lowered_logits, usual.logits)
    assert torch.equal(usual.lowered_logits, usual.logits)


@pytest.mark.parametrize("make", [InsertionDeletion, RelativeFaithfulness, FaithfulnessSkill, IROF, ROAD])
def test_metrics_are_near_and_leave_no_trace(make):
    net = Noting()
    before = state_of(net)
    found, expected = (make().score(case_of(net, readout)) for readout in (BF16, Readout()))
    assert not torch.equal(found, expected)
    torch.testing.assert_close(found, expected, atol=0.1, rtol=0.1, equal_nan=True)
    assert not differences(before, state_of(net))
    assert not torch.is_autocast_enabled("cpu")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_a_model_of_another_dtype_stays_as_it_is(dtype):
    net = Noting().to(dtype).eval()
    case = case_of(net, heatmaps=HEATMAPS)
    assert torch.equal(case[MaskingCurve()], case_of(net, Readout(), heatmaps=HEATMAPS)[MaskingCurve()])
    assert not any(autocast for autocast, *_ in SEEN)


@pytest.mark.parametrize("enabled", [True, False])
def test_inside_the_user_s_own_autocast(enabled):
    net = Noting().eval()
    context = torch.autocast("cpu", torch.bfloat16) if enabled else nullcontext()
    with context:
        found = case_of(net, heatmaps=HEATMAPS)[MaskingCurve()]
    assert {autocast for autocast, *_ in SEEN} == {True}
    expected = case_of(net, heatmaps=HEATMAPS)[MaskingCurve()]
    torch.testing.assert_close(found, expected, atol=0.01, rtol=0.01)


def test_weights_cast_here_do_not_reach_a_training_step():
    """Autocast keeps casts of weights until its outermost context ends: without gradients, training would lose them."""
    net = Noting()
    with torch.autocast("cpu", enabled=False):
        case_of(net, heatmaps=HEATMAPS)[MaskingCurve()]
        with torch.autocast("cpu", torch.bfloat16):
            net(IMAGES).sum().backward()
    assert all(parameter.grad is not None for parameter in net.parameters())


def test_a_device_without_autocast_is_said(monkeypatch):
    monkeypatch.setattr(torch.amp, "is_autocast_available", lambda kind: False)
    with pytest.raises(ValueError, match="`precision` to be 'model', because 'cpu' has no autocast, but got 'bf16'"):
        case_of(Noting(), heatmaps=HEATMAPS)[MaskingCurve()]
