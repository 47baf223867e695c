"""Values of every metric and explainer on fixed inputs, with all settings written out.

``python -m tests._frozen`` writes ``tests/frozen_numbers.json``: before the layers moved, or after a number was changed
on purpose. Inputs come from numpy's legacy generator, whose stream never changes: the file holds on every machine.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from inspect import Parameter, signature
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lightning_xai import Classifier, get_explainer, get_metric, list_explainers
from lightning_xai.model.layer.search import capture_points
from tests._nets import ConvNet, ConvViT

FILE = Path(__file__).with_name("frozen_numbers.json")
COUNT, CLASSES, CHANNELS, SIZE = 4, 4, 3, (16, 12)
_DIGITS = 7
_CELLS = 48  # values of a heatmap that are kept, evenly spaced


def drawn(shape: tuple[int, ...], seed: int) -> Tensor:
    """Return values of N(0, 1), float32."""
    return torch.from_numpy(np.random.RandomState(seed).standard_normal(shape)).float()


def network(alias: str) -> nn.Module:
    """Return a network in eval mode whose weights no generator of torch has drawn."""
    net = (ConvViT if alias in list_explainers("transformer") else ConvNet)(CHANNELS, CLASSES)
    for number, (name, parameter) in enumerate(net.named_parameters()):
        fan = parameter[0].numel() if parameter.ndim > 1 else 1
        offset = 1.0 if parameter.ndim == 1 and name.endswith("weight") else 0.0
        parameter.data = offset + drawn(tuple(parameter.shape), 100 + number) * (0.9 / fan**0.5 if fan > 1 else 0.3)
    return net.eval()


def inputs() -> dict[str, Any]:
    """Return everything that a metric may be given beside model and explainer."""
    generator = np.random.RandomState(7)
    heat = nn.functional.interpolate(drawn((COUNT, 1, 4, 3), 2), SIZE, mode="bilinear")[:, 0]
    boxes = torch.tensor([[1.0, 2.0, 7.0, 9.0], [3.0, 4.0, 11.0, 15.0], [0.0, 0.0, 5.0, 6.0], [4.0, 8.0, 12.0, 14.0]])
    masks = torch.zeros(COUNT, *SIZE, dtype=torch.bool)
    for mask, box in zip(masks, boxes.int().tolist(), strict=True):
        mask[box[1] : box[3], box[0] : box[2]] = True
    heat[::2] += 2.0 * masks[::2]
    return {
        "images": drawn((COUNT, CHANNELS, *SIZE), 1),
        "heatmaps": heat.relu(),
        "target": torch.from_numpy(generator.randint(CLASSES, size=COUNT)),
        "masks": masks,
        "boxes": boxes[:, None],
        "previous_heatmaps": drawn((COUNT, 5, 4), 3),
        "other_heatmaps": {"first": drawn((COUNT, *SIZE), 4), "second": drawn((COUNT, *SIZE), 5).relu()},
    }


class Evaluations:
    """Count the images that pass through a network, but for the search of its layer, which `test_search` counts."""

    def __init__(self, net: nn.Module) -> None:
        self.images = 0
        capture_points(Classifier(net), "auto", inputs()["images"])
        net.register_forward_pre_hook(self._count)

    def _count(self, _: nn.Module, given: tuple[Tensor, ...]) -> None:
        self.images += len(given[0])


def references() -> Tensor:
    return drawn((6, CHANNELS, *SIZE), 6)


def explainer_values(alias: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Return heatmaps and evaluations of one explainer."""
    net, given = network(alias), inputs()
    counted = Evaluations(net)
    explainer = get_explainer(alias, **_as_tuples(settings))
    if hasattr(explainer, "with_references"):
        explainer = explainer.with_references(references())
    heatmaps = explainer(net, given["images"], given["target"]).flatten(1)
    places = torch.arange(_CELLS) * heatmaps.shape[1] // _CELLS
    return {"values": _plain(heatmaps[:, places]), "sums": _plain(heatmaps.sum(1)), "evaluations": counted.images}


def metric_values(alias: str, settings: dict[str, Any], arguments: list[str]) -> dict[str, Any]:
    """Return rows, value, standard error and evaluations of one metric."""
    net, given = network(""), inputs()
    counted = Evaluations(net)
    metric = get_metric(alias, **_as_tuples(settings))
    explainer = get_explainer("input_x_gradient" if alias == "completeness" else "grad_cam")
    if alias == "completeness":
        explainer = _promising(explainer)
    given |= {"model": net, "explainer": explainer}
    metric.update(**{name: given[name] for name in arguments})
    return {
        "rows": _plain(metric.rows),
        "value": _plain(metric.compute()),
        "error": _plain(metric.standard_error()),
        "undefined": metric.undefined,
        "evaluations": counted.images,
    }


def _promising(explainer: Any) -> Any:
    """Return an explainer that says that it promises completeness; whether it keeps it is not asked here."""
    kind = type("Promising", (type(explainer),), {"completeness": True})
    return kind()


def _as_tuples(settings: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in settings.items()}


def _plain(tensor: Tensor) -> Any:
    """Return nested lists of rounded numbers, None for NaN."""
    if tensor.ndim:
        return [_plain(part) for part in tensor]
    value = float(tensor)
    return None if np.isnan(value) else float(f"{value:.{_DIGITS}g}")


def _defaults(kind: Callable[..., Any]) -> dict[str, Any]:
    skipped = {"self", "references", "attribution"}
    named = {
        p.name: p.default for p in signature(kind.__init__).parameters.values() if p.kind is not Parameter.VAR_KEYWORD
    }
    return {name: value for name, value in named.items() if name not in skipped and value is not Parameter.empty}


def cases() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield kind, alias and what the file says about each case."""
    for kind, by_alias in json.loads(FILE.read_text(encoding="utf-8")).items():
        for alias, found in by_alias.items():
            yield from ((kind, alias, case) for case in found)


def _frozen() -> dict[str, Any]:
    from tests.explainers._made import FEW
    from tests.metrics._harness import entries

    found: dict[str, Any] = {"explainers": {}, "metrics": {}}
    for alias in list_explainers():
        if alias == "captum_explainer":
            continue
        settings = _defaults(type(get_explainer(alias))) | FEW.get(alias, {})
        found["explainers"][alias] = [{"settings": settings, **explainer_values(alias, settings)}]
    for entry in entries():
        if not entry.repeatable:
            continue
        default = _defaults(type(entry.metric()))
        found["metrics"][entry.alias] = [
            {
                "settings": settings,
                "arguments": list(entry.arguments),
                **metric_values(entry.alias, settings, list(entry.arguments)),
            }
            for settings in [default | one | _layer(one) for one in entry.all_settings]
        ]
    return found


def _layer(settings: dict[str, Any]) -> dict[str, Any]:
    """Return a layer of this network in place of one of the harness'."""
    return {"target_layer": "features.4"} if settings.get("target_layer", "auto") != "auto" else {}


if __name__ == "__main__":
    text = json.dumps(_frozen(), separators=(",", ":")).replace('{"settings"', '\n{"settings"')
    FILE.write_text(text + "\n", encoding="utf-8")
