"""Attacks: beside captum and by hand, per model, and what they cost."""

from contextlib import nullcontext

import pytest
import torch
from captum.robust import FGSM as CaptumFGSM
from torch import nn

from lightning_xai import FGSM, Comparison, OnePixel, Sample
from lightning_xai.comparison.images import images_of
from lightning_xai.comparison.running.attack import Attack
from lightning_xai.comparison.storage.folder_storage import FolderStorage
from lightning_xai.comparison.storage.storage import MemoryStorage
from lightning_xai.evidence import Case
from lightning_xai.evidence.neighbours.one_pixel_attack import OnePixelAttack
from lightning_xai.model import Classifier
from tests.comparison._made import IMAGES, AsIs, Counted, TopLeft, evaluations_of, marked_images


def net(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(4 * 16, 3)).double().eval()


def some(count=5):
    images = torch.rand(count, 3, 6, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return Sample(images, torch.arange(count) % 3)


@pytest.mark.filterwarnings("ignore:Input Tensor 0 did not already require gradients")
@pytest.mark.parametrize("against", ["label", "predicted"])
def test_fgsm_is_that_of_captum(against):
    model, sample = net(), some()
    target = sample.labels if against == "label" else model(sample.images).argmax(1)
    found = FGSM(0.1, against, absolute=True)(sample, model).images
    loss = nn.CrossEntropyLoss(reduction="none")
    attack = CaptumFGSM(lambda x: model(x), loss_func=loss)
    expected = attack.perturb(sample.images, epsilon=0.1, target=target)
    low, high = sample.images.amin((0, 2, 3))[:, None, None], sample.images.amax((0, 2, 3))[:, None, None]
    torch.testing.assert_close(found, expected.clamp(low, high))
    with torch.no_grad():
        before, after = (loss(model(x), target) for x in (sample.images, found))
    assert bool((after > before).all())


def test_epsilon_is_a_share_of_the_range_of_the_data():
    model, sample = net(), some()
    span = float(sample.images.max() - sample.images.min())
    share, absolute = FGSM(0.02)(sample, model), FGSM(0.02 * span, absolute=True)(sample, model)
    torch.testing.assert_close(share.images, absolute.images, rtol=0, atol=1e-8)


def test_a_model_that_is_sure_is_attacked_too():
    """Where the cross-entropy of float32 has no gradient."""
    linear = nn.Sequential(nn.Flatten(), nn.Linear(4, 2, bias=False))
    linear[1].weight.data = 1000 * torch.tensor([[1.0, 1.0, 1.0, 1.0], [-1.0, -1.0, -1.0, -1.0]])
    images = torch.tensor([0.0, 0.5, 0.5, 1.0]).view(1, 1, 2, 2)
    found = FGSM(0.25)(Sample(images, torch.tensor([0])), linear).images
    assert found.flatten().tolist() == [0.0, 0.25, 0.25, 0.75]


def test_the_best_pixel_of_all():
    """A model that looks at one pixel alone: after enough tries that one is lowered as far as the image allows."""
    flat = nn.Sequential(nn.Flatten(), nn.Linear(16, 2, bias=False))
    flat[1].weight.data = torch.zeros(2, 16)
    flat[1].weight.data[0, 6] = 4.0
    images = torch.linspace(0, 1, 16).roll(3).view(1, 1, 4, 4)
    found = OnePixel(32, 40)(Sample(images), flat).images
    changed = (found != images).flatten().nonzero().flatten().tolist()
    assert changed == [6]
    assert float(found.flatten()[6]) == pytest.approx(0.0, abs=0.05)


def test_it_is_the_search_of_the_metric():
    sample, model = some(), net()
    case = Case(model, sample.images, value_range=(0.0, 1.0))
    expected = case[OnePixelAttack(8, 3, seed=4)].apply(sample.images)
    found = OnePixel(8, 3)(sample, model, seed=4).images
    assert torch.equal(found, expected)
    assert ((found != sample.images).any(1).flatten(1).sum(1) <= 1).all()


def test_what_it_costs_and_that_rules_share_it():
    """In a setting: logits of the attacked images, one explanation of a masked image for each of the cells."""
    for attack in (FGSM(0.1), OnePixel(8, 3)):
        comparison = Comparison(
            Counted(), marked_images(), {"a": AsIs()}, "average_drop", [0, "predicted"], transforms=attack
        )
        forecast = comparison.forecast()
        table, seen = evaluations_of(comparison.run)
        assert not table.failures
        cells = 4
        assert seen == 4 * attack.evaluations + 2 * 4 * (1 + cells)
        assert forecast.evaluations == seen
        spent = [(row["what"], row["evaluations"]) for row in table.costs().where(explainer="a")]
        assert sorted(spent) == [("average_drop", 1.0)] * 2 + [("explaining", 0.0)] * 2  # nor the attack's


def test_images_are_those_of_the_model():
    other = Counted()
    other.scale.data.fill_(-1.0)
    attack = FGSM(0.1)
    models = {"m": Counted(), "n": other}
    table = Comparison(models, marked_images(), {"a": AsIs()}, TopLeft(), transforms={"fgsm": attack}).run()
    for setting in table.settings:
        expected = attack(marked_images(), models[setting.model]).images
        torch.testing.assert_close(table.of(setting, "a", "top_left").rows, expected[:, 0, 0, 0])
        shown = torch.stack([item.image for item in table.behind.images(setting).probe.items])
        torch.testing.assert_close(shown, expected)
    first, second = (table.of(setting, "a", "top_left").rows for setting in table.settings)
    assert not torch.equal(first, second)


def test_batches_of_any_size_give_the_same(monkeypatch):
    sample, model = some(7), net().float()
    sample = Sample(sample.images.float(), sample.labels)
    found = {}
    for count in (2, 32):
        monkeypatch.setattr("lightning_xai.comparison.images.IMAGES_AT_ONCE", count)
        for attack in (FGSM(0.05), OnePixel(6, 2)):
            table = Comparison(model, sample, {"a": AsIs()}, TopLeft(), "predicted", transforms=attack).run()
            found[attack.alias, count] = table.of(table.settings[0], "a", "top_left").rows
    assert len(images_of(sample).chunks) == 1
    for alias in ("fgsm", "one_pixel"):
        torch.testing.assert_close(found[alias, 2], found[alias, 32], rtol=0, atol=1e-6)


def test_an_attack_that_fails_leaves_its_reason_and_the_rest_goes_on():
    unlabelled = Sample(IMAGES)
    transforms = {"none": None, "fgsm": FGSM(0.1)}
    table = Comparison(Counted(), {"d": unlabelled}, {"a": AsIs()}, TopLeft(), "predicted", transforms).run()
    assert {f.cell.setting.transform for f in table.errors} == {"fgsm"}
    assert {f.reason.partition(",")[0] for f in table.errors} == {"ValueError: Expected data with labels to attack"}
    assert len(table.mean()) == 3

    class Detached(nn.Module):
        def forward(self, x):
            return x.detach().flatten(1)

    table = Comparison(Detached(), marked_images(), {"a": AsIs()}, TopLeft(), transforms=FGSM(0.1)).run()
    assert {f.reason.partition(":")[0] for f in table.errors} == {"RuntimeError"}
    assert len(table.errors) == 4


def test_what_is_refused():
    with pytest.raises(ValueError, match=r"^Expected a model, because the transform attacks it"):
        FGSM()(marked_images())
    with pytest.raises(ValueError, match=r"^Expected `against` to be one of 'label', 'predicted'"):
        FGSM(against="labels")
    with pytest.raises(ValueError, match=r"^Expected `epsilon` to be > 0"):
        FGSM(0.0)
    with pytest.raises(ValueError, match=r"^Expected `population` to be >= 6"):
        OnePixel(3)


def test_what_another_process_attacks_is_waited_for_and_the_rest_done_meanwhile(tmp_path, monkeypatch):
    """It says by its claim that it is at work on the first batch, and finishes while ours does the second."""
    monkeypatch.setattr("lightning_xai.comparison.images.IMAGES_AT_ONCE", 3)
    monkeypatch.setattr("lightning_xai.comparison.running.attack._POLL", 0.01)
    storage, others = FolderStorage(tmp_path), FolderStorage(tmp_path)
    images = images_of(marked_images())
    attack, classifier = Attack(images, FGSM(0.1), 0, storage), Classifier(Counted())
    asked, claimed = [], storage.claimed

    def claim(key):
        asked.append(key)
        if key == asked[0]:
            return nullcontext(False)
        others.keep_images(asked[0], torch.full((3, 1, 2, 2), 7.0))
        return claimed(key)

    monkeypatch.setattr(storage, "claimed", claim)
    chunks = images.chunks
    assert [len(chunk) for chunk in chunks] == [3, 1]
    first = attack.change(chunks[0], images.sample(chunks[0], torch.device("cpu")), classifier)
    assert bool((first.images == 7.0).all())
    assert first.labels.tolist() == [0, 1, 2]
    assert len(asked) == 2
    assert classifier.evaluations == FGSM().evaluations  # of the one image of the second
    some = images.sample([3, 1], torch.device("cpu"))  # of both batches
    both = attack.change([3, 1], some, classifier)
    alone = Attack(images, FGSM(0.1), 0, MemoryStorage()).change([3, 1], some, classifier)
    assert torch.equal(both.images[0], alone.images[0])
    assert bool((both.images[1] == 7.0).all())
    assert torch.equal(attack.changed(classifier, torch.device("cpu")).probe.items[3].image, alone.images[0])


def test_what_a_table_asks_of_the_model_later_is_about_the_attacked_images():
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 4))
    sample, attack = marked_images(), FGSM(0.1)
    table = Comparison(net, sample, {"a": AsIs()}, TopLeft(), transforms=attack).run()
    (setting,) = table.settings
    expected = attack(sample, net).images
    with table.behind.cases(setting, ["a"], [2, 0]) as cases:
        assert torch.equal(cases["a"].images, expected[[2, 0]])
    with table.behind.shifted(setting, torch.full((1, 1, 1), 0.5)) as bench:
        torch.testing.assert_close(bench.case([1, 3]).images, expected[[1, 3]] + 0.5)
