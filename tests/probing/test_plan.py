from __future__ import annotations

import pytest
import torch
from torch import nn
from torchmetrics.classification import MulticlassAccuracy

from lightning_xai.explainers import GradCAM, HiResCAM
from lightning_xai.metrics import (
    DeletionAUC,
    FaithfulnessSkill,
    InsertionDeletion,
    InsertionSkill,
    PixelFlipping,
    PointingGame,
)
from lightning_xai.model import Classifier
from lightning_xai.probing import Sample
from lightning_xai.probing.keys import Keys
from lightning_xai.probing.plan import Plan
from lightning_xai.probing.target import case_of
from tests.metrics._harness import Batch, tiny_net

LOCALIZATION = {"pointing_game", "relevance_mass_accuracy", "relevance_rank_accuracy", "box_localization"}


def plan(explainers="grad_cam", metrics=None):
    return Plan(explainers, metrics)


def keys_of(explainers="grad_cam", metrics=None):
    return Keys(plan(explainers, metrics), "xai", 8)


def test_default_keys():
    expected = """
        xai/probe_accuracy xai/probe_confidence xai/seconds xai/model_evaluations
        xai/insertion_auc xai/deletion_auc xai/faithfulness xai/faithfulness_gain xai/control/faithfulness
        xai/faithfulness_relative xai/undefined/faithfulness_relative
        xai/faithfulness_skill xai/undefined/faithfulness_skill xai/insertion_skill xai/undefined/insertion_skill
        xai/max_sensitivity xai/undefined/max_sensitivity xai/avg_sensitivity xai/undefined/avg_sensitivity
        xai/sparseness xai/undefined/sparseness xai/complexity xai/undefined/complexity
        xai/heatmap_drift xai/undefined/heatmap_drift
    """
    plain = set(keys_of().all(annotated=False))
    assert plain == set(expected.split())
    more = {f"xai/{name}" for name in LOCALIZATION} | {f"xai/undefined/{name}" for name in LOCALIZATION}
    assert set(keys_of().all(annotated=True)) == plain | more


def test_several_explainers_and_loaders_are_told_apart():
    keys = set(keys_of(["grad_cam", "hires_cam"], "insertion_deletion").all(annotated=False, loaders=[0, 1]))
    shared = ("probe_accuracy", "probe_confidence", "seconds", "model_evaluations", "control/faithfulness")
    own = [f"{e}/{name}" for e in ("grad_cam", "hires_cam") for name in ("faithfulness", "faithfulness_gain")]
    assert keys == {f"xai/{name}/dataloader_idx_{loader}" for name in (*shared, *own) for loader in (0, 1)}


def test_names_of_the_user():
    explainers = {"early": GradCAM("layer1"), "late": GradCAM("layer4")}
    metrics = {"fine": InsertionDeletion(64), "coarse": InsertionDeletion(8)}
    keys = keys_of(explainers, metrics).all(annotated=False)
    assert {"xai/early/fine", "xai/late/coarse_gain", "xai/control/fine"} <= keys.keys()
    assert "xai/one" in keys_of({"any": "grad_cam"}, {"one": DeletionAUC()}).all(annotated=False)


@pytest.mark.parametrize("form", ["grad_cam", GradCAM(), ["grad_cam"], (GradCAM(),), {"grad_cam": "grad_cam"}])
def test_forms_of_explainers(form):
    assert {name: type(found) for name, found in plan(form).explainers.items()} == {"grad_cam": GradCAM}


@pytest.mark.parametrize(
    "form", ["deletion_auc", DeletionAUC(), ["deletion_auc"], [DeletionAUC()], {"deletion_auc": DeletionAUC()}]
)
def test_forms_of_metrics(form):
    assert list(plan(metrics=form).metrics(annotated=False)) == ["deletion_auc"]


def test_given_metrics_are_used_whatever_is_annotated():
    given = keys_of(metrics=["deletion_auc"])
    assert set(given.all(annotated=True)) == set(given.all(annotated=False))


def test_no_metrics_leave_the_probe_and_the_pictures():
    assert set(keys_of(metrics=[]).all(annotated=True)) == {
        f"xai/{name}" for name in ("probe_accuracy", "probe_confidence", "seconds", "model_evaluations")
    }


@pytest.mark.parametrize(
    ("metrics", "scored"),
    [
        (None, ["faithfulness"]),
        (["deletion_auc", "sparseness"], None),
        ([PixelFlipping(), InsertionDeletion(), PointingGame()], ["faithfulness", "pixel_flipping"]),
    ],
)
def test_the_control_is_scored_where_a_gain_is_logged(metrics, scored):
    control = plan(metrics=metrics)._control_suite
    assert (control and sorted(control.explanation_metrics())) == scored


def test_the_default_suite_among_others():
    asked, default = plan(metrics=["default", "road", PixelFlipping()]), plan()
    for annotated in (False, True):
        expected = {*default.metrics(annotated=annotated), "road", "pixel_flipping"}
        assert set(asked.metrics(annotated=annotated)) == expected
    assert "pointing_game" in asked.metrics(annotated=True)
    assert list(plan(metrics="default").metrics(annotated=True)) == list(default.metrics(annotated=True))
    with pytest.raises(ValueError, match="got two named 'sparseness'"):
        plan(metrics=["default", "sparseness"])


def test_expected_evaluations():
    assert plan().evaluations(annotated=False) <= 125 + 6  # the bound counts the unchanged image once per curve
    more = plan(["grad_cam", "hires_cam"]).evaluations(annotated=False) - plan().evaluations(annotated=False)
    assert more == 1 + 22 + 10  # its map, its curves, its neighbours; no second control or reference
    assert plan(metrics="sparseness").evaluations(annotated=False) == 2


@pytest.mark.parametrize("seed", [0, 5])
@pytest.mark.parametrize("explainers", [["input_x_gradient"], ["input_x_gradient", "random_heatmap"]])
def test_skill_adds_the_hidden_cells_and_one_pair_of_curves(explainers, seed):
    batch, counted, expected, rows = Batch.draw(3), [], [], []
    for metrics in ([InsertionDeletion(5)], [InsertionDeletion(5), FaithfulnessSkill(5), InsertionSkill(5)]):
        asked, classifier = Plan(explainers, metrics, seed=seed), Classifier(tiny_net())
        found = asked.answers(classifier, Sample(batch.images, batch.target), batch.target)
        counted.append(classifier.evaluations / 3)
        expected.append(asked.evaluations(annotated=False))
        rows.append(found)
    assert counted[1] - counted[0] == 49 + 2 * 5
    assert expected[1] - expected[0] == 50 + 2 * 6  # which counts the unchanged image of each
    for name in explainers:
        skill = rows[1].rows[name]["faithfulness_skill"]
        assert torch.equal(skill[:, 0], rows[0].rows[name]["faithfulness"])
        assert torch.equal(skill[:, 1], rows[0].control_rows["faithfulness"])


@pytest.mark.parametrize(
    ("explainers", "metrics", "error", "text"),
    [
        ("gradcam", None, ValueError, r"Expected `explainer` to be one of .*Did you mean 'grad_cam'\?"),
        ("grad_cam", "insertion", ValueError, r"Expected `metric` to be one of .*Did you mean 'insertion_auc'\?"),
        (["grad_cam", HiResCAM(), GradCAM("layer4")], None, ValueError, "got two 'grad_cam'. Pass a dict"),
        ("grad_cam", [DeletionAUC(), "deletion_auc"], ValueError, "got two named 'deletion_auc'. Pass a dict"),
        ([], None, ValueError, "`explainers` to hold at least one explainer, but got none"),
        ({}, None, ValueError, "`explainers` to hold at least one explainer, but got none"),
        (
            [GradCAM],
            None,
            TypeError,
            r"Expected `explainers` to hold explainers or aliases, but got the class GradCAM: pass",
        ),
        (GradCAM, None, TypeError, r"but got the class GradCAM: pass an object, GradCAM\(\)"),
        ("grad_cam", DeletionAUC, TypeError, r"but got the class DeletionAUC: pass an object, DeletionAUC\(\)"),
        ("grad_cam", [MulticlassAccuracy(3)], TypeError, "of explanations, but got MulticlassAccuracy. Log it in your"),
        ("grad_cam", [3], TypeError, "Expected `metrics` to hold metrics or aliases, but got int"),
    ],
)
def test_errors(explainers, metrics, error, text):
    with pytest.raises(error, match=text):
        plan(explainers, metrics)


class Breaking(nn.Module):
    """Multiplies the images whose mean exceeds 0 by something before they go through a small net."""

    def __init__(self, factor):
        super().__init__()
        self.net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 3))
        self.factor = factor

    def forward(self, images):
        return self.net(images * torch.where(images.mean((1, 2, 3)) > 0, self.factor, 1.0)[:, None, None, None])


class TestLogitsThatAreNoNumbers:
    @staticmethod
    def answers(model, explainer="saliency", broken=2):
        torch.manual_seed(0)
        images = -torch.rand(5, 1, 8, 8)
        images[:broken] *= -1.0
        sample = Sample(images, torch.tensor([0, 1, 2, 0, 1]))
        return Plan(explainer, "sparseness").answers(Classifier(model), sample, sample.labels)

    @pytest.mark.parametrize("explainer", ["saliency", "grad_cam", "occlusion", "integrated_gradients"])
    @pytest.mark.parametrize("broken", [1, 2, 5])
    def test_are_blamed_and_counted(self, explainer, broken):
        text = f"finite logits, but they are NaN or infinite for {broken} of 5 images.*has the training diverged"
        with pytest.raises(FloatingPointError, match=text):
            self.answers(Breaking(torch.nan), explainer, broken)

    def test_so_are_infinite_ones(self):
        with pytest.raises(FloatingPointError, match="for 3 of 5 images"):
            self.answers(Breaking(torch.inf), broken=3)

    def test_other_heatmaps_are_to_blame_themselves(self):
        class Undefined(type(GradCAM())):
            def explain(self, classifier, images, target):
                return super().explain(classifier, images, target) * torch.nan

        with pytest.raises(ValueError, match="`heatmaps of Undefined` to be finite"):
            self.answers(Breaking(1.0), Undefined())


def rows_of_logits(rows, **arguments):
    """The explained classes of images whose pixels are the logits."""
    images = torch.tensor(rows)[:, None, None]
    sample = Sample(images, torch.zeros(len(rows), dtype=torch.int64))
    return case_of(Classifier(nn.Flatten()), sample, sample.labels, **arguments).target.tolist()


def test_the_class_with_the_kth_largest_logit():
    """Also where its probability is 0 in float32, and of equal ones the first."""
    rows = [[0.0, 3.0, 2.0, 1.0], [500.0, 100.0, 200.0, 300.0], [1.0, 2.0, 2.0, 1.0]]
    found = {k: rows_of_logits(rows, target=f"top_{k}") for k in (1, 2, 3, 4)}
    assert found == {1: [1, 0, 1], 2: [2, 3, 2], 3: [3, 2, 0], 4: [0, 1, 3]}
    assert rows_of_logits(rows, target="predicted") == found[1]
    assert rows_of_logits([[2.0], [-1.0]], target="top_2") == [0, 1]  # of one logit the other class
    with pytest.raises(ValueError, match=r"^Expected a model of at least 5 classes for target='top_5', but it has 4"):
        rows_of_logits(rows, target="top_5")


@pytest.mark.parametrize("rule", ["top_0", "top_", "top_two", "top_2 ", "second"])
def test_what_is_no_rule(rule):
    with pytest.raises(ValueError, match=r"^Expected `target` to be one of 'label', 'predicted', .*'top_2', 'top_3'"):
        Plan("grad_cam", None, rule)
