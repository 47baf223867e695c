from __future__ import annotations

import pytest
import torch
from captum.metrics import sensitivity_max

from lightning_xai import GradCAM
from lightning_xai._randomness import content_keys
from lightning_xai.evidence import Neighbourhood
from lightning_xai.explainers.explainer import Explainer
from lightning_xai.functional import max_sensitivity
from lightning_xai.metrics import MaxSensitivity
from lightning_xai.model.classifier import Classifier
from lightning_xai.model.readout import Readout
from tests.metrics import _naive
from tests.metrics._harness import Batch, Entry, close, squares, tiny_net


def _reference(view, radius=0.02, num_samples=10, relative=True, seed=0, absolute=False):
    return max(_naive.changes(view, squares, radius, num_samples, relative, seed, absolute))


ENTRY = Entry(
    "max_sensitivity",
    ("model", "images", "heatmaps", "target", "explainer"),
    _reference,
    variants=({"radius": 0.5, "num_samples": 3, "seed": 4}, {"radius": 0.1, "relative": False}, {"absolute": True}),
)


class Flat(Explainer):
    """Explain by the image's first value everywhere: a neighbour moves it by its noise there."""

    evaluations = 0

    def explain(self, classifier, images, target):
        return images[:, 0, :1, :1].expand(-1, 2, 2)


class OnlyClean(Explainer):
    """Return a heatmap for the one image it knows, and nothing for its neighbours."""

    evaluations = 0

    def __init__(self, image):
        self.image = image

    def explain(self, classifier, images, target):
        known = (images == self.image).flatten(1).all(1).float()[:, None, None]
        return known * torch.linspace(0.1, 1.0, images.shape[2] * images.shape[3]).view(1, *images.shape[2:])


def test_by_hand():
    image = torch.full((1, 1, 2, 2), 4.0)
    noise = [Neighbourhood().draw(content_keys(image), (1, 2, 2), j)[0, 0, 0, 0].abs().item() for j in range(10)]
    value = max_sensitivity(torch.nn.Flatten(), image, Flat(), target=0, absolute=True)
    assert value.item() == pytest.approx(max(noise) / 4.0, rel=1e-4)


@pytest.mark.parametrize("explainer", [ENTRY.given(Batch.draw(1), None)["explainer"], GradCAM(target_layer="0")])
@pytest.mark.parametrize("radius", [0.02, 0.3])
def test_equals_captum_on_the_same_noise(explainer, radius):
    batch, net = Batch.draw(5), tiny_net().eval()
    neighbourhood, drawn = Neighbourhood(radius, 10), []

    def perturbed(images):  # captum repeats each image ten times in a row
        sample = torch.arange(10).repeat(len(batch))
        drawn.append(neighbourhood.draw(content_keys(images), tuple(images.shape[1:]), sample))
        return images + drawn[-1]

    def explain(inputs, target):
        images = inputs[0] if isinstance(inputs, tuple) else inputs
        return (explainer(net, images, target),)  # captum needs a tuple

    expected = sensitivity_max(explain, batch.images, perturbed, n_perturb_samples=10, target=batch.target)
    assert drawn[0].abs().max() <= radius
    close(max_sensitivity(net, batch.images, explainer, batch.target, radius=radius, absolute=True), expected)


def test_makes_the_clean_heatmap_if_it_is_not_given():
    batch, net = Batch.draw(3), tiny_net()
    explainer = GradCAM(target_layer="0")
    heatmaps = explainer(net, batch.images, batch.target)
    given = max_sensitivity(net, batch.images, explainer, batch.target, heatmaps=heatmaps)
    torch.testing.assert_close(max_sensitivity(net, batch.images, explainer, batch.target), given, rtol=0, atol=0)


def test_zero_heatmap_is_undefined_unless_absolute():
    batch = Batch.draw(2)
    for relative, undefined in ((True, 2), (False, 0)):
        metric = MaxSensitivity(relative=relative)
        metric.update(**ENTRY.given(batch.with_heatmaps(torch.zeros_like(batch.heatmaps)), tiny_net()))
        assert metric.undefined == undefined


@pytest.mark.parametrize("size", [2, 224])  # the large one is summed by several threads when it is alone
@pytest.mark.parametrize("count", [1, 3])
def test_neighbours_without_heat_count_exactly_one(size, count):
    images, threads = torch.rand(1, 1, size, size).expand(count, -1, -1, -1), torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        for chunk in (1, 4, 64):
            classifier = Classifier(torch.nn.Flatten(), Readout(chunk_size=chunk))
            assert max_sensitivity(classifier, images, OnlyClean(images[0]), target=0).tolist() == [1.0] * count
    finally:
        torch.set_num_threads(threads)


def test_small_heatmaps_are_as_sensitive_as_large_ones():
    # the squares of 1e-25 vanish in float32
    batch = Batch.draw(3)

    class Scaled(type(ENTRY.given(batch, None)["explainer"])):
        def explain(self, classifier, images, target):
            return 1e-25 * super().explain(classifier, images, target)

    arguments = {"model": tiny_net(), "images": batch.images, "target": batch.target}
    large = max_sensitivity(explainer=ENTRY.given(batch, None)["explainer"], **arguments)
    close(max_sensitivity(explainer=Scaled(), **arguments), large)
