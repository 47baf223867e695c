"""What changes no number: the unit of the heat, and a mirror. Every metric is in exactly one class of each law."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from lightning_xai.explainers.explainer import Explainer
from lightning_xai.metrics import get_metric, list_metrics
from lightning_xai.model.classifier import Classifier
from tests.metrics._harness import Batch, Squares, entry_of, tiny_net

NOT_READ, MEASURED, RAW = (
    "reads no heatmap",
    "is measured, no two calls agree",
    "adds the heat up, in logits",
)
ORDER, FREE = "only the order counts", "divides the unit out"

SCALE = {
    "abpc": ORDER,
    "adcc": FREE,
    "adversarial_stability": FREE,
    "aopc": ORDER,
    "attribution_localization": FREE,
    "average_drop": FREE,
    "average_gain": FREE,
    "average_increase": FREE,
    "avg_sensitivity": FREE,
    "binarized_precision": FREE,
    "box_localization": FREE,
    "completeness": RAW,
    "complexity": FREE,
    "contrastivity": FREE,
    "deletion_auc": ORDER,
    "effective_complexity": FREE,
    "efficient_parameter_randomization": FREE,
    "explainer_agreement": FREE,
    "explanation_time": MEASURED,
    "faithfulness_correlation": FREE,
    "faithfulness_estimate": FREE,
    "faithfulness_skill": ORDER,
    "fidelity": FREE,
    "haas": FREE,
    "heat_share": FREE,
    "heatmap_drift": FREE,
    "infidelity": RAW,
    "insertion_auc": ORDER,
    "insertion_deletion": ORDER,
    "insertion_skill": ORDER,
    "irof": ORDER,
    "local_accuracy": FREE,
    "local_lipschitz": FREE,
    "localization_auc": ORDER,
    "max_sensitivity": FREE,
    "monotonicity": ORDER,
    "monotonicity_correlation": FREE,
    "mst_compactness": ORDER,
    "nuisance_mass": FREE,
    "occlusion_correlation": FREE,
    "one_pixel_sensitivity": FREE,
    "parameter_randomization": FREE,
    "pixel_flipping": ORDER,
    "pointing_game": ORDER,
    "pointing_game_recall": FREE,
    "random_logit": FREE,
    "relative_faithfulness": ORDER,
    "relative_input_stability": FREE,
    "relative_output_stability": FREE,
    "relative_representation_stability": FREE,
    "reliance": FREE,
    "relevance_mass_accuracy": FREE,
    "relevance_rank_accuracy": ORDER,
    "road": ORDER,
    "saturation": NOT_READ,
    "selectivity": ORDER,
    "sensitivity_n": FREE,
    "sparseness": FREE,
    "sufficiency": FREE,
    "sufficient_pixels": ORDER,
    "top_k_intersection": ORDER,
    "transform_consistency": FREE,
}
PIXEL_ORDER_ONLY = [  # the others average the heat of regions first, or read where it is zero
    "deletion_auc",
    "insertion_auc",
    "faithfulness_skill",
    "insertion_deletion",
    "insertion_skill",
    "localization_auc",
    "monotonicity",
    "pixel_flipping",
    "relative_faithfulness",
    "relevance_rank_accuracy",
    "road",
    "sufficient_pixels",
    "top_k_intersection",
]

KEYED = "what is drawn belongs to the content of the image, which a mirror changes"
SEGMENTS = "the segmentation of the image is not mirrored with it"
MIRRORED = {
    "abpc": {"grid": (4, 2), "baseline": 0.0},
    "adcc": {},
    "adversarial_stability": {},
    "aopc": {"grid": (4, 2), "baseline": 0.0},
    "attribution_localization": {},
    "average_drop": {},
    "average_gain": {},
    "average_increase": {},
    "avg_sensitivity": KEYED,
    "binarized_precision": {},
    "box_localization": {},
    "completeness": {},
    "complexity": {},
    "contrastivity": {},
    "deletion_auc": {},
    "effective_complexity": {},
    "efficient_parameter_randomization": {},
    "explainer_agreement": {},
    "explanation_time": MEASURED,
    "faithfulness_correlation": KEYED,
    "faithfulness_estimate": {},
    "faithfulness_skill": KEYED,
    "fidelity": {},
    "haas": {},
    "heat_share": {},
    "heatmap_drift": {},
    "infidelity": KEYED,
    "insertion_auc": {},
    "insertion_deletion": {},
    "insertion_skill": KEYED,
    "irof": SEGMENTS,
    "local_accuracy": {},
    "local_lipschitz": KEYED,
    "localization_auc": {},
    "max_sensitivity": KEYED,
    "monotonicity": {},
    "monotonicity_correlation": KEYED,
    "mst_compactness": {},
    "nuisance_mass": {},
    "occlusion_correlation": {"grid": (4, 4), "patch": 0.5},
    "one_pixel_sensitivity": KEYED,
    "parameter_randomization": {},
    "pixel_flipping": {},
    "pointing_game": {},
    "pointing_game_recall": {},
    "random_logit": KEYED,
    "relative_faithfulness": {},
    "relative_input_stability": KEYED,
    "relative_output_stability": KEYED,
    "relative_representation_stability": KEYED,
    "reliance": KEYED,
    "relevance_mass_accuracy": {},
    "relevance_rank_accuracy": {},
    "road": {"noise": 0.0},
    "saturation": {"target_layer": "2"},
    "selectivity": {},
    "sensitivity_n": KEYED,
    "sparseness": {},
    "sufficiency": {"threshold": 2.0},
    "sufficient_pixels": {},
    "top_k_intersection": {},
    "transform_consistency": {"rotation": 180.0},  # 15° one way is 15° the other way in a mirror
}


SMALL = {  # settings that fit the images
    "faithfulness_correlation": {"grid": (4, 4)},
    "sensitivity_n": {"grid": (4, 4), "sizes": (1, 2, 4)},
    "one_pixel_sensitivity": {"population": 8, "generations": 4},
}


@pytest.mark.parametrize("law", [SCALE, MIRRORED], ids=["scale", "mirror"])
def test_every_metric_is_classified(law):
    assert sorted(law) == list_metrics()


class Louder(Explainer):
    """Another explainer's heatmaps in another unit."""

    completeness = True

    def __init__(self, quiet: Explainer, scale: float) -> None:
        self.quiet, self.scale = quiet, scale

    def explain(self, classifier: Classifier, images: Tensor, target: Tensor) -> Tensor:
        return self.scale * self.quiet.explain(classifier, images, target)


def scored_in_unit(alias, scale):
    """Return the rows of a metric with all heat of the explainer multiplied by ``scale``."""
    entry, batch = entry_of(alias), Batch.draw(5)
    given = entry.given(batch.with_heatmaps(batch.heatmaps * scale), tiny_net())
    if "explainer" in given:
        given["explainer"] = Louder(given["explainer"], scale)
    metric = entry.metric()
    metric.update(**given)
    return metric.rows


def of_class(law, *classes):
    return [alias for alias in law if law[alias] in classes]


@pytest.mark.parametrize("scale", [2.0**-20, 0.37e6])
@pytest.mark.parametrize("alias", of_class(SCALE, ORDER, FREE, NOT_READ))
def test_the_unit_of_the_heat_changes_nothing(alias, scale):
    exact = SCALE[alias] != FREE
    value, scaled = scored_in_unit(alias, 1.0), scored_in_unit(alias, scale)
    torch.testing.assert_close(scaled, value, rtol=0, atol=0.0 if exact else 2e-5, equal_nan=True)


@pytest.mark.parametrize("alias", of_class(SCALE, RAW))
def test_the_unit_counts_where_the_heat_is_added_up(alias):
    assert not torch.allclose(scored_in_unit(alias, 3.0), scored_in_unit(alias, 1.0), rtol=0.1)


def test_only_a_time_is_measured():
    assert [alias for alias in list_metrics() if not entry_of(alias).repeatable] == of_class(SCALE, MEASURED)


@pytest.mark.parametrize("alias", PIXEL_ORDER_ONLY)
def test_any_increasing_function_of_the_heat_keeps_the_order(alias):
    assert SCALE[alias] == ORDER
    entry, batch, net = entry_of(alias), Batch.draw(5), tiny_net()
    levels = (batch.heatmaps * 8).round() / 8  # so few that rounding neither makes nor breaks a tie
    value = entry.updated(batch.with_heatmaps(levels), net).rows
    moved = entry.updated(batch.with_heatmaps(levels.exp() - 7.0), net).rows
    torch.testing.assert_close(moved, value, rtol=0, atol=0, equal_nan=True)


class MirrorConv(nn.Conv2d):
    """A convolution whose kernels are their own mirror images, also after its parameters are drawn anew."""

    def forward(self, images: Tensor) -> Tensor:
        return self._conv_forward(images, (self.weight + self.weight.flip(-1)) / 2, self.bias)


def mirror_net():
    """Return a net whose features are mirrored with the image, and whose answer does not change."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = nn.Sequential(
            MirrorConv(3, 6, 3, padding=1),
            nn.Tanh(),
            MirrorConv(6, 6, 3, padding=1, stride=1),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(6, 3),
        )
        for layer in (net[0], net[2]):
            nn.init.normal_(layer.weight, std=0.5)
        nn.init.normal_(net[6].weight, std=4.0)
        with torch.no_grad():  # an answer that is no foregone conclusion
            net[6].bias.sub_(net(square_batch().images).mean(0))
    return net.eval()


class Features(Explainer):
    """Explain by Σ_k w_k a_k of the features before pooling, rectified or not: a CAM, mirrored with the image."""

    evaluations = 0
    completeness = True

    def explain(self, classifier: Classifier, images: Tensor, target: Tensor) -> Tensor:
        net = classifier.model
        features = net[:4](images)
        return (net[6].weight[target][:, :, None, None] * features).sum(1)


def square_batch(count=6, size=8):
    random = torch.Generator().manual_seed(1)
    masks = torch.rand(count, size, size, generator=random) < 0.3
    corner = torch.randint(0, size // 2, (count, 1, 2), generator=random).float()
    heatmaps = torch.randn(count, size, size, generator=random)  # no ties: these are broken by the image's content
    heatmaps[::2] += 3.0 * masks[::2]
    for image in range(count):
        heatmaps[image, :image] *= 1e-7
    return Batch(
        images=torch.randn(count, 3, size, size, generator=random),
        heatmaps=heatmaps,
        target=torch.randint(3, (count,), generator=random),
        masks=masks,
        boxes=torch.cat([corner, corner + size // 2], 2),
        previous_heatmaps=torch.randn(count, 4, 4, generator=random),
    )


def mirrored(batch):
    width = batch.images.shape[-1]
    left, top, right, bottom = batch.boxes.unbind(-1)
    return Batch(
        images=batch.images.flip(-1),
        heatmaps=batch.heatmaps.flip(-1),
        target=batch.target,
        masks=batch.masks.flip(-1),
        boxes=torch.stack([width - right, top, width - left, bottom], -1),
        previous_heatmaps=batch.previous_heatmaps.flip(-1),
    )


def scored(alias, batch, settings):
    entry = entry_of(alias)
    given = entry.given(batch, mirror_net())
    if "explainer" in given:
        given["explainer"] = Squares() if alias == "completeness" else Features()
    metric = get_metric(alias, **settings)
    metric.update(**given)
    return entry.per_image(metric.rows)


@pytest.mark.parametrize("alias", [alias for alias in MIRRORED if isinstance(MIRRORED[alias], dict)])
def test_a_mirror_changes_nothing(alias):
    batch = square_batch()
    value = scored(alias, batch, MIRRORED[alias])
    assert len(value[~value.isnan()].unique()) > 1  # a batch on which the metric says nothing proves nothing
    found = scored(alias, mirrored(batch), MIRRORED[alias])
    torch.testing.assert_close(found, value, atol=2e-5, rtol=1e-4, equal_nan=True)


@pytest.mark.parametrize("alias", of_class(MIRRORED, KEYED))
def test_what_is_drawn_for_an_image_is_drawn_anew_for_its_mirror_image(alias):
    batch = square_batch()
    settings = SMALL.get(alias, {})
    assert not torch.equal(scored(alias, mirrored(batch), settings), scored(alias, batch, settings))


def test_the_net_sees_no_mirror():
    batch, net = square_batch(), mirror_net()
    torch.testing.assert_close(net(batch.images.flip(3)), net(batch.images))
    assert net(batch.images).softmax(1).std(0).min() > 0.1
    torch.testing.assert_close(net[:4](batch.images.flip(3)), net[:4](batch.images).flip(3))
