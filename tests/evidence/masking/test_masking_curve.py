from __future__ import annotations

import weakref

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from lightning_xai.evidence import Case, MaskingCurve
from lightning_xai.functional import deletion_auc, insertion_auc
from lightning_xai.model.classifier import Classifier
from lightning_xai.model.readout import Readout
from tests.metrics._harness import Batch, EvaluationCount, close, tiny_net


def _published_net():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 16, stride=16), nn.Tanh(), nn.Flatten(), nn.Linear(4 * 14 * 14, 5))
    nn.init.normal_(net[3].weight, std=0.5)
    return net.eval()


def _published(net, image, heatmap, target, mode):
    """Return RISE's `CausalMetric.single_run` and `auc` with step 224, in numpy."""
    kernel = np.zeros((11, 11))
    kernel[5, 5] = 1
    kernel = gaussian_filter(kernel, 5)
    padded = np.pad(image, ((0, 0), (5, 5), (5, 5)))
    blurred = sum(kernel[i, j] * padded[:, i : i + 224, j : j + 224] for i in range(11) for j in range(11))
    if mode == "del":
        start, finish = image.copy(), np.zeros_like(image)
    else:
        start, finish = blurred, image.copy()
    order = np.flip(np.argsort(heatmap.reshape(-1), kind="stable"))
    start, finish = start.reshape(3, -1), finish.reshape(3, -1)
    n_steps = (224 * 224 + 224 - 1) // 224
    scores = np.empty(n_steps + 1)
    for i in range(n_steps + 1):
        with torch.no_grad():
            logits = net(torch.from_numpy(start.reshape(1, 3, 224, 224)).float())[0].double().numpy()
        scores[i] = np.exp(logits[target] - np.logaddexp.reduce(logits))
        if i < n_steps:
            coordinates = order[224 * i : 224 * (i + 1)]
            start[:, coordinates] = finish[:, coordinates]
    return (scores.sum() - scores[0] / 2 - scores[-1] / 2) / (len(scores) - 1), scores


def test_equals_the_published_protocol():
    net, images = _published_net(), torch.randn(2, 3, 224, 224)
    coarse = nn.functional.interpolate(torch.randn(2, 1, 7, 7), size=(224, 224), mode="bilinear")[:, 0].relu()
    heatmaps = torch.stack([coarse[0], (coarse[1] * 3).round()])  # large tied regions: zeros, and plateaus
    assert (heatmaps == 0).float().mean() > 0.3
    target = torch.tensor([1, 4])
    settings = {"num_steps": 224, "ties": "last"}
    found = {
        "del": deletion_auc(net, images, heatmaps, target, **settings),
        "ins": insertion_auc(net, images, heatmaps, target, **settings),
    }
    case = Case(net, images, target, heatmaps=heatmaps)
    curves = {
        "del": case[MaskingCurve("deletion", 0.0, 224, ties="last")],
        "ins": case[MaskingCurve("insertion", "blur", 224, ties="last")],
    }
    spread = 0.0
    for mode in ("del", "ins"):
        for i in range(2):
            area, scores = _published(net, images[i].double().numpy(), heatmaps[i].numpy(), int(target[i]), mode)
            assert found[mode][i].item() == pytest.approx(area, abs=1e-5)
            np.testing.assert_allclose(curves[mode][i].numpy(), scores, rtol=0, atol=1e-5)
            spread += scores.max() - scores.min()
    assert spread > 1.0  # the curves are not flat


def test_points_are_rounded_parts_of_the_pixels():
    class Black(nn.Module):
        def forward(self, images):
            gone = (images == 0).flatten(1).float().sum(1)
            return torch.stack([gone, torch.zeros_like(gone)], 1) * 0.1

    images, heatmaps = torch.ones(1, 1, 3, 5), torch.rand(1, 3, 5)
    for num_steps in (1, 2, 4, 7, 15, 32, 100):
        curve = Case(Black(), images, 0, heatmaps=heatmaps)[MaskingCurve(num_steps=num_steps)][0]
        counts = torch.logit(curve.double()) / 0.1
        assert counts.round().int().tolist() == [round(k * 15 / num_steps) for k in range(num_steps + 1)]


def test_insertion_runs_from_the_baseline_to_the_image_and_deletion_back():
    batch, net = Batch.draw(4), tiny_net()
    case = Case(net, batch.images, batch.target, heatmaps=batch.heatmaps)
    classifier = case.classifier
    intact = classifier.select(case.logits, batch.target, "probability")
    empty = classifier.select(classifier.logits(torch.zeros_like(batch.images)), batch.target, "probability")
    deletion, insertion = case[MaskingCurve("deletion", 0.0, 5)], case[MaskingCurve("insertion", 0.0, 5)]
    torch.testing.assert_close(deletion[:, 0], intact, rtol=0, atol=0)
    close(deletion[:, -1], empty)
    torch.testing.assert_close(insertion[:, -1], intact, rtol=0, atol=0)
    close(insertion[:, 0], empty)


def test_insertion_most_relevant_first_is_deletion_least_relevant_first_backwards():
    batch, net = Batch.draw(4), tiny_net()
    heatmaps = torch.randn_like(batch.heatmaps)  # no ties
    case = Case(net, batch.images, batch.target, heatmaps=heatmaps)
    insertion = case[MaskingCurve("insertion", 0.0, 99)]
    deletion = case[MaskingCurve("deletion", 0.0, 99, order="lerf")]
    close(insertion, deletion.flip(1))


@pytest.mark.parametrize("chunk_size", [1, 3, 8, 33, 1000])
@pytest.mark.parametrize("curve", [MaskingCurve(), MaskingCurve("insertion", "uniform", 7, grid=(3, 2))])
def test_no_more_than_a_chunk_of_frames_exists(curve, chunk_size):
    batch, net = Batch.draw(5), tiny_net()
    count, built = EvaluationCount(net), []

    class Watched(Classifier):
        def evaluate(self, number, build, *args, **kwargs):
            def watched(chunk):
                built.append(build(chunk))
                return built[-1]

            return super().evaluate(number, watched, *args, **kwargs)

    classifier = Watched(net, Readout(chunk_size=chunk_size))
    Case(classifier, batch.images, batch.target, heatmaps=batch.heatmaps)[curve]
    assert count.largest <= chunk_size
    assert max(len(frames) for frames in built) <= chunk_size
    assert count.images == classifier.evaluations == 5 * curve.evaluations()


class _Memory(TorchDispatchMode):
    """Track the bytes of all live tensors that were made inside."""

    def __init__(self):
        super().__init__()
        self.sizes, self.users, self.peak = {}, {}, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, (tuple, list)) else [out]:
            if isinstance(tensor, torch.Tensor):
                place = tensor.untyped_storage().data_ptr()
                self.sizes[place] = tensor.untyped_storage().nbytes()
                self.users[place] = self.users.get(place, 0) + 1
                weakref.finalize(tensor, self._released, place)
        self.peak = max(self.peak, sum(self.sizes.values()))
        return out

    def _released(self, place):
        self.users[place] -= 1
        if not self.users[place]:
            del self.sizes[place], self.users[place]


def _peak(num_steps, count=2, chunk_size=4):
    images, heatmaps = torch.randn(count, 3, 32, 32), torch.rand(count, 32, 32)
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 2))
    case = Case(Classifier(net, Readout(chunk_size=chunk_size)), images, 0, heatmaps=heatmaps)
    with _Memory() as memory:
        case[MaskingCurve("insertion", "blur", num_steps)]
    return memory.peak


def test_memory_does_not_grow_with_steps():
    frame = 3 * 32 * 32 * 4
    few, many = _peak(8), _peak(512)
    assert few > 4 * frame  # it is measured at all
    assert many - few < 0.7 * frame  # scores and step numbers only: 504 steps are 2,016 frames of 2 images


def test_memory_grows_with_the_chunk():
    frame = 3 * 32 * 32 * 4
    assert _peak(64, chunk_size=32) - _peak(64, chunk_size=4) > 28 * frame


def test_model_may_change_its_input_in_place():
    class InPlace(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = tiny_net()

        def forward(self, images):
            return self.net(images.mul_(2.0).div_(2.0).add_(0.0)) + 0 * images.zero_().sum()

    batch = Batch.draw(3)
    kept = batch.images.clone()
    arguments = (batch.images, batch.heatmaps, batch.target)
    for function in (insertion_auc, deletion_auc):
        close(function(InPlace(), *arguments), function(tiny_net(), *arguments))
    assert torch.equal(batch.images, kept)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_images_of_other_dtypes(dtype):
    batch, net = Batch.draw(4), tiny_net()
    expected = deletion_auc(net, batch.images, batch.heatmaps, batch.target, ties="first")
    found = deletion_auc(net, batch.images.to(dtype), batch.heatmaps, batch.target, ties="first")
    assert found.dtype == torch.float32
    close(found, expected, 1e-5 if dtype == torch.float64 else 0.05)


def test_settings_are_one_key():
    assert MaskingCurve(baseline=0) == MaskingCurve(baseline=0.0)
    assert MaskingCurve(grid=[2, 3]) == MaskingCurve(grid=(2, 3))
    assert hash(MaskingCurve(grid=[2, 3])) == hash(MaskingCurve(grid=(2, 3)))
    assert len({MaskingCurve(), MaskingCurve("insertion"), MaskingCurve(seed=1), MaskingCurve(ties="last")}) == 4


@pytest.mark.parametrize(
    ("settings", "error", "text"),
    [
        ({"direction": "delete"}, ValueError, r"Expected `direction` to be one of 'deletion', 'insertion', but got"),
        ({"num_steps": 0}, ValueError, r"Expected `num_steps` to be >= 1, but got 0\."),
        ({"num_steps": "gauss"}, ValueError, r"Expected `num_steps` to be one of 'radau', 'auto', but got 'gauss'"),
        ({"num_steps": 2.0}, TypeError, r"Expected `num_steps` to be a whole number, but got float\."),
        ({"num_steps": True}, TypeError, r"Expected `num_steps` to be a whole number, but got bool\."),
        ({"order": "mrf"}, ValueError, r"Expected `order` to be one of 'morf', 'lerf', but got 'mrf'\. Did you mean"),
        ({"ties": None}, ValueError, r"Expected `ties` to be one of 'random', 'first', 'last', but got None\."),
        ({"grid": 8}, TypeError, r"Expected `grid` to be a pair \(rows, columns\), but got 8\."),
        ({"seed": 1.5}, TypeError, r"Expected `seed` to be a whole number, but got float\."),
        ({"seed": "a"}, TypeError, r"Expected `seed` to be a whole number, but got str\."),
    ],
)
def test_settings_are_checked(settings, error, text):
    with pytest.raises(error, match=text):
        MaskingCurve(**settings)


def test_any_whole_seed_is_fine():
    batch, net = Batch.draw(2), tiny_net()
    for seed in (-1, 2**63, -(2**70)):
        assert deletion_auc(net, batch.images, batch.heatmaps, batch.target, num_steps=3, seed=seed).isfinite().all()
