"""How far Score-CAM's maps are from those of all feature maps when only some of these are evaluated."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from benchmarks.map_error import errors, scores_of_maps
from benchmarks.photographs import networks
from benchmarks.probe_error import PROBE, of_a_mean
from benchmarks.result import Result
from benchmarks.setting import Setting
from benchmarks.trained import Trained
from lightning_xai import AvgSensitivity, Case, Classifier, GradCAM, MaxSensitivity, ScoreCAM
from lightning_xai.explainers.cam.layer_explainer import LayerView

_Rank = Callable[[LayerView], Tensor]
"""What channels are taken by, the greatest first, (n, C)."""


class LargestChannels(ScoreCAM):
    """Score-CAM of the channels that come first by something, as if there were no others."""

    def __init__(self, rank: _Rank, num_channels: int) -> None:
        super().__init__(num_channels=None)
        self.rank, self.taken = rank, num_channels

    def feature_weights(self, layer: LayerView) -> Tensor:
        activations = layer.activations
        live = activations.amax((2, 3)) > activations.amin((2, 3))
        first = self.rank(layer).masked_fill(~live, -torch.inf).topk(min(self.taken, live.shape[1]), 1).indices
        taken = torch.zeros_like(live).scatter_(1, first, value=True) & live
        weights = torch.full(live.shape, -torch.inf, device=live.device)
        rows, channels = taken.nonzero(as_tuple=True)
        weights[rows, channels] = self.channel_scores(layer, rows, channels)
        return weights.softmax(1)[:, :, None, None]


class EqualWeights(ScoreCAM):
    """The sum of all feature maps: what is left of Score-CAM without a single score."""

    def feature_weights(self, layer: LayerView) -> Tensor:
        return torch.ones_like(layer.activations[:, :, :1, :1])


def _mass(layer: LayerView) -> Tensor:
    return layer.activations.sum((2, 3))


def _gradient(layer: LayerView) -> Tensor:
    """Return how much each channel adds to Grad-CAM's map, up to its sign; costs a backward pass."""
    seen = layer.of(layer.images, gradients=True)
    weights = GradCAM().feature_weights(seen)
    return (weights * seen.activations).sum((2, 3)).abs()


def _any(layer: LayerView) -> Tensor:
    return torch.rand(layer.activations.shape[1], generator=torch.Generator().manual_seed(0)).expand(
        layer.activations.shape[:2]
    )


_RANKS: dict[str, _Rank] = {
    "largest activation mass": _mass,
    "largest gradient weight": _gradient,
    "random": _any,
}


def run(setting: Setting) -> Result:
    """Explain with all feature maps, and with some, chosen in every way."""
    result = Result(f"Score-CAM against all feature maps; faithfulness against the standard error over {PROBE} images")
    for network in networks(setting, result):
        for row in _rows(setting, network):
            result.add(network=network.name, accuracy=network.accuracy, **row)
    return result


def _rows(setting: Setting, network: Trained) -> Iterator[dict[str, object]]:
    count = setting.size(cpu=24, gpu=128, quick=3)
    few = network.first(count)
    counts = (8,) if setting.quick else (16, 32, 64, 128)
    ways: list[tuple[str, int | None, ScoreCAM]] = [("all", None, ScoreCAM(num_channels=None))]
    ways += [("none: equal weights", 0, EqualWeights())]
    ways += [(name, number, LargestChannels(rank, number)) for name, rank in _RANKS.items() for number in counts]
    ways += [("representatives", number, ScoreCAM(num_channels=number)) for number in counts]
    limit: Tensor | None = None
    for name, number, explainer in ways:
        classifier = Classifier(few.model, chunk_size=32, channels_last=True)
        maps = explainer(classifier, few.images, few.target)
        limit = maps if limit is None else limit
        yield {
            "channels": name,
            "num_channels": number,
            "evaluations": classifier.evaluations / count,
            **errors(maps[None], limit).columns(),
            **_faithfulness(few, maps, limit),
            **(_sensitivity(setting, few, explainer) if type(explainer) is ScoreCAM else {}),
        }


def _faithfulness(network: Trained, maps: Tensor, limit: Tensor) -> dict[str, object]:
    exact = scores_of_maps(network, limit)
    off = scores_of_maps(network, maps) - exact
    share = float(of_a_mean(off, network.group) / exact.std()) * PROBE**0.5
    return {"faithfulness_rms_share": share}


def _sensitivity(setting: Setting, network: Trained, explainer: ScoreCAM) -> dict[str, object]:
    """Return how far the map moves with small noise: representatives may change with it."""
    some = slice(setting.size(cpu=4, gpu=32, quick=2))
    classifier = Classifier(network.model, chunk_size=32, channels_last=True)
    case = Case(classifier, network.images[some], network.target[some], explainer=explainer)
    return {metric.alias: float(metric.score(case).mean()) for metric in (MaxSensitivity(), AvgSensitivity())}
