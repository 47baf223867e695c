"""Which rows stand behind a key, and means per image."""

import math

import pytest
import torch

from lightning_xai.probing import ExplainedEpoch, Keys, Plan
from lightning_xai.probing.decisions.accuracy import accuracies, error_of_share, is_accuracy
from lightning_xai.probing.decisions.paired import mean_per_image, monitored, same_images
from tests.probing.decisions._made import scores


def keys(explainers="grad_cam", metrics=None, prefix="xai"):
    return Keys(Plan(explainers, metrics, "label", 0), prefix, 4)


class TestKeys:
    def test_one_explainer(self):
        found = monitored(keys(), "xai/faithfulness_gain")
        assert (found.name, found.explainer, found.loader, found.sign) == ("faithfulness_gain", "grad_cam", 0, 1.0)
        assert monitored(keys(), "xai/max_sensitivity").sign == -1.0
        assert monitored(keys(), "xai/deletion_auc").sign == -1.0
        assert monitored(keys(), "xai/deletion_auc", "max").sign == 1.0

    def test_several_explainers_and_loaders(self):
        found = monitored(
            keys(["grad_cam", "layer_cam"], prefix="val/xai"), "val/xai/layer_cam/sparseness/dataloader_idx_2"
        )
        assert (found.name, found.explainer, found.loader) == ("sparseness", "layer_cam", 2)

    @pytest.mark.parametrize(
        "key", ["xai/faithfullness_gain", "xai/probe_accuracy", "xai/control/faithfulness", "val_loss"]
    )
    def test_keys_without_values_per_image_are_listed_with_the_nearest(self, key):
        with pytest.raises(ValueError, match=r"Expected `monitor` to be one of .*'xai/faithfulness_gain'") as caught:
            monitored(keys(), key)
        assert "faithfullness" not in key or "Did you mean 'xai/faithfulness_gain'?" in str(caught.value)

    def test_a_metric_without_a_direction_asks_for_a_mode(self):
        with pytest.raises(ValueError, match=r"Expected `mode` to say which values of 'xai/heatmap_drift' are better"):
            monitored(keys(), "xai/heatmap_drift")
        assert monitored(keys(), "xai/heatmap_drift", "min").sign == -1.0

    def test_an_epoch_of_an_old_checkpoint_has_no_rows(self):
        assert monitored(keys(), "xai/faithfulness").of(ExplainedEpoch(0, 1, "fit", {})) is None


def test_a_mean_per_image_by_hand():
    past = [scores([0.0, 1.0, 4.0]), scores([2.0, math.nan, 6.0]), scores([9.0, 9.0, 9.0], keys=[2, 7, 0])]
    like = scores([0.0, 0.0, 0.0, 0.0], keys=[2, 0, 1, 5])
    rows = mean_per_image(past, like).rows
    assert torch.equal(rows[:3], torch.tensor([19 / 3, 11 / 3, 1.0], dtype=torch.float64))
    assert rows[3].isnan()


def test_a_mean_per_image_of_gains_leaves_both_out_where_one_is_undefined():
    past = [scores([0.5, 0.5], control=[0.1, math.nan]), scores([0.7, 0.9], control=[0.3, 0.2])]
    found = mean_per_image(past, past[0])
    assert (found.rows - found.control_rows).tolist() == pytest.approx([0.4, 0.7])


def test_several_numbers_per_image():
    past = [scores([[1.0, 2.0], [3.0, math.nan]]), scores([[3.0, 4.0], [5.0, 6.0]])]
    assert mean_per_image(past, past[0]).rows.tolist() == [[2.0, 3.0], [5.0, 6.0]]


def test_sets_of_images():
    assert same_images(scores([0, 0], keys=[1, 2]), scores([0, 0], keys=[2, 1]))
    assert not same_images(scores([0, 0], keys=[1, 2]), scores([0, 0], keys=[1, 3]))


@pytest.mark.parametrize(
    "name",
    ["val_acc", "acc", "val/accuracy", "MulticlassAccuracy", "valid_acc1", "val_top1", "eval-acc@1", "Accuracy_epoch"],
)
def test_accuracies(name):
    assert is_accuracy(name)


@pytest.mark.parametrize(
    "name",
    ["val_loss", "val_auroc", "access", "accumulated", "balanced_accuracy", "accuracy_macro", "stop1", "f1", "vaccine"],
)
def test_no_accuracies(name):
    assert not is_accuracy(name)


def test_the_accuracy_among_what_is_logged():
    names = ["train_acc", "val_acc", "xai/probe_accuracy", "val_loss", "acc_step", "val_acc/dataloader_idx_1"]
    assert accuracies(names, "xai") == ["val_acc", "val_acc/dataloader_idx_1"]


def test_the_error_of_a_share_is_that_of_its_images():
    correct = torch.tensor([1.0] * 45 + [0.0] * 5, dtype=torch.float64)
    assert error_of_share(0.9, 50) == pytest.approx(float(correct.std(correction=0)) / math.sqrt(50))
