"""Networks of studies: trained once by their recipe, kept, scored; each setting of a recipe does what it says."""

import pytest
import torch
from sklearn import metrics as sklearn_metrics

from lightning_xai.studies import Recipe, TrainedNetworks
from lightning_xai.studies.training import trained_networks
from lightning_xai.studies.training.fitting import class_weights, mean_recall
from lightning_xai.studies.training.scores import scores_of_logits
from lightning_xai.studies.training.trained_networks import made_network, trained_by
from tests.studies._made import Bright, data

SOURCES = {"network": {"class_path": "tests.studies._made.network"}, "train": data(64), "test": data(64, 1)}


def recipe(**settings):
    return Recipe(**{**SOURCES, "epochs": (2,), "batch_size": 16, "learning_rate": 0.01, **settings})


def equal(first, second):
    return all(torch.equal(first[name], second[name]) for name in first)


def test_equal_recipes_give_equal_networks_whatever_the_random_state():
    first = trained_by(recipe())[2]
    torch.manual_seed(99)
    state = torch.random.get_rng_state()
    second = trained_by(recipe())[2]
    assert equal(first.state, second.state)
    assert torch.equal(state, torch.random.get_rng_state())
    assert not equal(first.state, trained_by(recipe(seed=1))[2].state)


def test_a_snapshot_is_what_a_shorter_training_gives():
    both = trained_by(recipe(epochs=(1, 3)))
    assert equal(both[1].state, trained_by(recipe(epochs=(1,)))[1].state)
    assert not equal(both[1].state, both[3].state)


def test_it_learns_but_not_from_permuted_labels():
    assert trained_by(recipe(epochs=(15,)))[15].scores["balanced_accuracy"] > 0.9
    assert trained_by(recipe(epochs=(15,), permuted_labels=True))[15].scores["balanced_accuracy"] < 0.7


def test_frozen_parameters_stay():
    start = made_network(recipe()).state_dict()
    found = trained_by(recipe(frozen=("0.",)))[2].state
    assert torch.equal(start["0.weight"], found["0.weight"])
    assert not torch.equal(start["3.weight"], found["3.weight"])


@pytest.mark.parametrize(
    "settings",
    [
        {"optimizer": "sgd"},
        {"optimizer": "adamw", "weight_decay": 0.1},
        {"weight_decay": 0.5},
        {"schedule": "cosine"},
        {"class_weights": True},
        {"augment": {"class_path": "tests.studies._made.augmented"}},
        {"batch_size": 8},
    ],
    ids=lambda settings: next(iter(settings)),
)
def test_every_setting_changes_the_network_and_its_key(settings):
    assert recipe(**settings).key != recipe().key
    assert not equal(trained_by(recipe(**settings))[2].state, trained_by(recipe())[2].state)


def test_patience_ends_training_when_neither_gets_better():
    still = {"learning_rate": 1e-12, "validation": data(16, 2)}  # nothing gets better after the first epoch
    found = trained_by(recipe(epochs=(1, 40), patience=2, **still))
    assert equal(found[40].state, trained_by(recipe(epochs=(3,), **still))[3].state)


def test_one_step_by_hand():
    module = made_network(recipe())
    everything = recipe(epochs=(1,), batch_size=64, optimizer="sgd", learning_rate=0.1)
    bright = Bright(64)
    images, labels = bright.images, bright.labels
    torch.nn.functional.cross_entropy(module(images), labels).backward()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter -= 0.1 * parameter.grad
    torch.testing.assert_close(trained_by(everything)[1].state, dict(module.state_dict()))


def test_without_epochs_the_network_is_as_it_is_made():
    found = trained_by(Recipe(network=SOURCES["network"], seed=3))
    assert equal(found[0].state, made_network(Recipe(network=SOURCES["network"], seed=3)).state_dict())
    assert found[0].scores == {}


def test_what_is_trained_is_kept(tmp_path, monkeypatch):
    told = []
    kept = TrainedNetworks(tmp_path, told=told.append)
    kept.prepare({"a": recipe(), "b": recipe(seed=1), "again": recipe()})
    assert sorted(told) == ["training again", "training b"]
    monkeypatch.setattr(trained_networks, "trained_by", None)
    other = TrainedNetworks(tmp_path)
    other.prepare({"a": recipe()})
    assert equal(other.network(recipe(), 2).state_dict(), kept.network(recipe(), 2).state_dict())
    assert not other.network(recipe(), 2).training
    assert other.scores(recipe(), 2).keys() == {"accuracy", "balanced_accuracy", "precision", "recall", "f1", "auc"}
    assert other.left_of([recipe(), recipe(seed=2), recipe(seed=2)]) == [recipe(seed=2)]
    assert not list((tmp_path / "claims").glob("*"))


def test_scores_are_those_of_scikit_learn():
    drawn = torch.Generator().manual_seed(0)
    logits, labels = torch.randn(50, 3, generator=drawn), torch.randint(3, (50,), generator=drawn)
    found, predicted = scores_of_logits(logits, labels), logits.argmax(1)
    weighted = sklearn_metrics.precision_recall_fscore_support(labels, predicted, average="weighted")
    expected = {
        "accuracy": sklearn_metrics.accuracy_score(labels, predicted),
        "balanced_accuracy": sklearn_metrics.balanced_accuracy_score(labels, predicted),
        "precision": weighted[0],
        "recall": weighted[1],
        "f1": weighted[2],
        "auc": sklearn_metrics.roc_auc_score(labels, logits.softmax(1), multi_class="ovr"),
    }
    assert found == pytest.approx(expected, abs=1e-6)


def test_weights_and_recalls_by_hand():
    assert class_weights(torch.tensor([0, 0, 2]), 3).tolist() == pytest.approx([0.5, 0.0, 1.0])
    predicted, labels = torch.tensor([0, 1, 1, 2]), torch.tensor([0, 0, 1, 1])
    assert mean_recall(predicted, labels) == pytest.approx(0.5)
    assert mean_recall(predicted, labels, (0,)) == pytest.approx(0.5)
    assert mean_recall(torch.tensor([1, 1, 1, 1]), labels, (1,)) == 1.0
