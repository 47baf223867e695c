from __future__ import annotations

import torch

from lightning_xai.evidence import Case
from lightning_xai.evidence.neighbours.scaled_images import ScaledImages
from lightning_xai.model.classifier import Classifier
from lightning_xai.model.readout import Readout
from tests._nets import ConvNet, differences, state_of
from tests.metrics._harness import EvaluationCount


def test_alphas_end_at_the_image():
    assert ScaledImages(4).alphas == [0.25, 0.5, 0.75, 1.0]
    model, images = ConvNet(), torch.rand(3, 3, 8, 8)
    case = Case(model, images)
    found = case[ScaledImages(4)]
    torch.testing.assert_close(found.logits[:, -1], case.logits)
    torch.testing.assert_close(found.logits[:, 1], case.classifier.logits(0.5 * images))
    torch.testing.assert_close(found.cosine[:, -1], torch.ones(3))


def test_chunks_and_no_trace():
    model, images = ConvNet().train(), torch.rand(5, 3, 8, 8)
    count, before = EvaluationCount(model), state_of(model)
    expected = Case(model, images)[ScaledImages(3)]
    for chunk_size in (1, 2, 100):
        count.largest = 0
        found = Case(Classifier(model, Readout(chunk_size=chunk_size)), images)[ScaledImages(3)]
        assert count.largest == min(chunk_size, 5)
        torch.testing.assert_close(found.cosine, expected.cosine)
        torch.testing.assert_close(found.logits, expected.logits)
    assert differences(before, state_of(model)) == []


def test_images_and_model_in_half_precision():
    model, images = ConvNet().bfloat16(), torch.rand(2, 3, 8, 8).bfloat16()
    found = Case(model, images)[ScaledImages(3)]
    assert found.cosine.dtype == found.logits.dtype == torch.float32
    assert ((found.cosine > 0.5) & (found.cosine <= 1.0)).all()
