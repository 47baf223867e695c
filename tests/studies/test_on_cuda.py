"""A study on a CUDA device finds what one on the CPU finds with the same networks."""

import pytest
import torch

from lightning_xai.studies import Study
from tests.studies._made import written_study

pytestmark = pytest.mark.cuda
DEVICE = "cuda"  # "cpu", without the mark, tries it where there is no GPU


def test_networks_that_are_there_give_the_values_of_a_cpu(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    study, values = Study.load(written_study(tmp_path)), []
    for place in ("cpu", DEVICE):
        found = study.run(tmp_path / f"{len(values)}", networks=tmp_path / "nets", device=place, progress=False)
        means = found.findings.parts["main"].mean().where()
        values.append({(one["model"], one["explainer"], one["metric"]): one["value"] for one in means})
    assert values[1] == pytest.approx(values[0], abs=1e-3, nan_ok=True)
    assert len(values[0]) > 8
