"""Explainers that compare with images of the data."""

import copy
import pickle

import pytest
import torch

from lightning_xai.explainers.reference_explainer import ReferenceExplainer
from tests._nets import ConvNet


class MeanDifference(ReferenceExplainer):
    """The distance from the mean reference."""

    def explain(self, classifier, images, target):
        return (images - self.references_for(images).mean(0)).sum(1)


def test_without_references_a_clear_error():
    with pytest.raises(ValueError, match=r"`references` \(R, C, H, W\).*MeanDifference\(references=images\)"):
        MeanDifference()(ConvNet(), torch.rand(2, 3, 8, 8), 0)


def test_of_another_size_a_clear_error():
    explainer = MeanDifference(torch.rand(4, 3, 6, 6))
    with pytest.raises(ValueError, match=r"shape \(R, 3, 8, 8\) to match `images`, but got \(4, 3, 6, 6\)"):
        explainer(ConvNet(), torch.rand(2, 3, 8, 8), 0)


@pytest.mark.parametrize("wrong", [torch.rand(3, 8, 8), torch.rand(2, 3, 8, 8).long(), "images"])
def test_what_is_no_batch_of_images(wrong):
    with pytest.raises((TypeError, ValueError), match="references"):
        MeanDifference(wrong)


def test_references_are_the_explainer_s_own():
    images, references = torch.rand(2, 3, 8, 8), torch.rand(4, 3, 8, 8)
    bare, given = MeanDifference(), references.clone()
    explainer = bare.with_references(given)
    given.zero_()
    assert bare.needs_references
    assert not explainer.needs_references
    expected = (images - references.mean(0)).sum(1)
    for made in (explainer, copy.deepcopy(explainer), pickle.loads(pickle.dumps(explainer))):
        torch.testing.assert_close(made(ConvNet(), images, 0), expected)
    assert bare.settings() == {"references": None}
    assert repr(explainer).startswith("MeanDifference(references=Tensor(4, 3, 8, 8) #")


def test_settings_tell_other_references_apart():
    first, second = torch.rand(4, 3, 8, 8), torch.rand(4, 3, 8, 8)
    settings = [MeanDifference(references).settings()["references"] for references in (first, first.clone(), second)]
    assert settings[0] == settings[1] != settings[2]
    assert settings[0].startswith("Tensor(4, 3, 8, 8) #")


def test_they_follow_the_precision_of_the_images():
    explainer = MeanDifference(torch.rand(4, 3, 8, 8))
    assert explainer.references_for(torch.rand(2, 3, 8, 8, dtype=torch.float64)).dtype == torch.float64
