"""The benchmark beside Quantus runs, and both sides pass as many images through the model as their definitions ask."""

import torch

from benchmarks import metric_throughput
from benchmarks.setting import Setting


def test_passes_per_image(monkeypatch):
    monkeypatch.setattr(metric_throughput, "list_metrics", lambda: ["sparseness"])  # the rest of the table costs time
    setting = Setting(torch.device("cpu"), quick=True)
    rows = [row for row in metric_throughput.run(setting).rows if row["beside"] == "Quantus"]
    passes = {row["suite"]: (row["our_evaluations"], row["their_evaluations"]) for row in rows}
    assert passes == {
        # the clean image once; curves of 24 and twice 64 points, 24 sets, 24 subsets
        "faithfulness": (1 + 24 + 2 * 64 + 24 + 24, 24 + 64 + (1 + 64) + 2 * (1 + 24)),
        # heatmaps of uniform and of gaussian copies, and the model's own changes; Quantus makes six times ten heatmaps,
        # looks twice per copy whether three of these metrics keep the prediction, and at what two of them divide by
        "robustness": (10 + 10 + (1 + 10), 6 * 10 + 3 * 2 * 10 + 2 * (1 + 10)),
        "localization": (0, 0),
        "complexity": (0, 0),
        # a heatmap per layer and one of another class, which ours looks up; Quantus explains the intact model again
        "randomization": (9 + 1 + 1, 1 + 9 + 1),
        metric_throughput.TOGETHER: (242, 356),
    }
