"""The same as `benchmarks.equal_error` of a small vision transformer, which takes longer to train."""

from __future__ import annotations

from benchmarks.equal_error import of_network
from benchmarks.result import Result
from benchmarks.setting import Setting


def run(setting: Setting) -> Result:
    return of_network(setting, "ViT-tiny")
