"""Explainers that need reference images get those of the validation data from the monitor."""

from __future__ import annotations

from typing import ClassVar

import pytest
import torch

from lightning_xai import ExplanationMonitor
from lightning_xai.explainers import ReferenceExplainer
from lightning_xai.metrics import Sparseness
from tests.callbacks._tiny import NO_PICTURES, Squares, chosen, fit


class Distance(ReferenceExplainer):
    """The distance from the mean reference; notes what it was given."""

    seen: ClassVar[list[torch.Tensor]] = []

    def explain(self, classifier, images, target):
        references = self.references_for(images)
        self.seen.append(references.cpu())
        return (images - references.mean(0)).sum(1)


@pytest.fixture(autouse=True)
def _fresh(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Distance, "seen", [])


def monitor(explainer, num_images=5):
    return ExplanationMonitor(explainer, Sparseness(), num_images=num_images, reports=NO_PICTURES, on_error="raise")


@pytest.mark.parametrize("count", [12, 90])
def test_they_are_the_same_64_images_in_every_epoch(count):
    data = Squares(count)
    fit(monitor(Distance()), val=data.loader(), max_epochs=2)
    references = [seen for seen in Distance.seen if len(seen) > 2]  # the sanity check has an image and its mirror image
    assert len(references) >= 2
    for seen in references:
        assert torch.equal(seen, data.images[chosen(data.images, data.labels, 64)])
        assert len(seen) == min(count, 64)


def test_the_probe_is_the_same_as_without_them():
    data = Squares(90)
    first, second = monitor(Distance()), monitor("grad_cam")
    for callback in (first, second):
        fit(callback, val=data.loader(), max_epochs=1)
    probes = [callback.state_dict()["probes"]["0"]["keys"] for callback in (first, second)]
    assert probes[0] == probes[1]
    assert len(probes[0]) == 5


def test_a_user_s_own_are_kept():
    own = torch.rand(3, 1, 16, 16)
    data = Squares()
    fit(monitor(Distance(own)), val=data.loader(), max_epochs=1)
    assert Distance.seen
    assert all(torch.equal(seen, own) for seen in Distance.seen)


def test_the_explainer_of_the_user_stays_as_it_was():
    explainer = Distance()
    fit(monitor(explainer), val=Squares().loader(), max_epochs=1)
    assert explainer.needs_references
