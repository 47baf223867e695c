"""A comparison on a CUDA device finds what one on the CPU finds."""

import pytest
import torch

from lightning_xai import RISE, Comparison, InsertionDeletion, MaxSensitivity, ShapesDataset, Sparseness
from tests._nets import ConvNet

pytestmark = pytest.mark.cuda
DEVICE = "cuda"  # "cpu", without the mark, tries it where there is no GPU


def test_values_are_those_of_a_cpu(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    torch.manual_seed(0)
    model, explainers = ConvNet(), {"cam": "grad_cam", "rise": RISE(num_masks=32, grid=3)}
    metrics = [InsertionDeletion(num_steps=4), MaxSensitivity(num_samples=2), Sparseness()]

    def means(place):
        compared = Comparison({"m": model}, {"d": ShapesDataset(4, 32)}, explainers, metrics, device=place)
        return {(one["explainer"], one["metric"]): one["value"] for one in compared.run().mean().where()}

    expected = means("cpu")
    assert len(expected) >= 3 * 5  # three metrics of two explainers and three controls
    assert means(DEVICE) == pytest.approx(expected, abs=1e-3, nan_ok=True)
