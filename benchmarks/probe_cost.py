"""Choosing the probe while validation batches pass by."""

from __future__ import annotations

from benchmarks.result import Result
from benchmarks.setting import Setting
from benchmarks.timing import timed
from lightning_xai.probing.sample import Sample
from lightning_xai.probing.selection import ProbeSelection

LIMIT_MS = 0.2
BATCH = 32
NUM_IMAGES = 32


def run(setting: Setting) -> Result:
    """Offer a validation set, batch by batch, to a fresh selection."""
    result = Result("Choosing the probe, 10 classes, ms per validation image", f"at most {LIMIT_MS} ms")
    batches = setting.size(cpu=16, gpu=16, quick=3)
    images, target = setting.images(BATCH * batches), setting.target(BATCH * batches)
    samples = [Sample(images[i : i + BATCH], target[i : i + BATCH]) for i in range(0, len(images), BATCH)]

    def choose() -> None:
        selection = ProbeSelection(NUM_IMAGES)
        for sample in samples:
            selection.offer(sample)

    times = timed(choose, setting.size(cpu=21, gpu=21, quick=1), setting.device)
    wall, cpu = times.wall.scaled(1e3 / len(images)), times.cpu.scaled(1e3 / len(images))
    met = (wall if setting.on_gpu else cpu).median <= LIMIT_MS
    result.add(images=len(images), batch=BATCH, probe=NUM_IMAGES, side=setting.side, wall_ms=wall, cpu_ms=cpu, met=met)
    return result
