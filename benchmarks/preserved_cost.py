"""Entering and leaving `preserved`, which every call of an explainer or a metric does once."""

from __future__ import annotations

from benchmarks.result import Result
from benchmarks.setting import Setting
from benchmarks.timing import timed
from lightning_xai import Classifier, preserved


def run(setting: Setting) -> Result:
    """Measure an outer entry, before and after the model has run, and a nested one, as a metric's inner calls are.

    Before it has run, the values of all parameters are copied, to learn which of them its forward writes.
    """
    result = Result("Entering and leaving preserved(model), ms")
    repeats = setting.size(cpu=101, gpu=101, quick=3)
    for name in setting.names:
        model = setting.model(name)

        def enter() -> None:
            with preserved(model):  # noqa: B023 - called before the next model
                pass

        kinds = {"before it runs": timed(enter, repeats, setting.device)}
        Classifier(model).logits(setting.images(1))
        kinds["outer"] = timed(enter, repeats, setting.device)
        with preserved(model):
            kinds["nested"] = timed(enter, repeats, setting.device)
        for kind, times in kinds.items():
            modules = sum(1 for _ in model.modules())
            wall, cpu = times.wall.scaled(1e3), times.cpu.scaled(1e3)
            result.add(model=name, modules=modules, entry=kind, wall_ms=wall, cpu_ms=cpu)
    return result
