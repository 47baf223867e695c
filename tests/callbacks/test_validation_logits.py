"""The logits of a whole validation: those that its steps computed, of every image, at no cost and without a trace."""

from __future__ import annotations

import copy
import io
import warnings
from dataclasses import dataclass, field
from typing import ClassVar

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from lightning_xai import ExplanationMonitor, Readout
from lightning_xai._randomness import content_keys
from lightning_xai.callbacks.run import watched_validation
from lightning_xai.callbacks.run.run_state import RunState
from lightning_xai.callbacks.run.validation import Validation
from lightning_xai.callbacks.run.watched_validation import WatchedValidation
from lightning_xai.callbacks.steps import hearing
from lightning_xai.callbacks.steps.hearing import Hearing
from lightning_xai.probing import Sample, ValidationLogits
from lightning_xai.probing.batches import sample_from_batch
from lightning_xai.probing.decisions.effort import Effort
from lightning_xai.probing.sample import sample_of_checked
from lightning_xai.reports import Report
from tests.callbacks._runs import differing
from tests.callbacks._tiny import DataLoader, Dicts, Module, OnlySteps, Squares, fit, tiny_net

DATA = Squares(14)  # a last batch of two


@pytest.fixture(autouse=True)
def _files_go_to_tmp(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


class Through(Module):
    """Calls its own forward in the step."""

    def loss(self, batch):
        logits, labels = self(batch[0]), batch[1]
        if labels.is_floating_point():
            return F.binary_cross_entropy_with_logits(logits, labels.view_as(logits))
        return F.cross_entropy(logits, labels)


@dataclass(frozen=True)
class Listening(Report):
    """Keeps what it is told."""

    wants_validation_logits: ClassVar[bool] = True
    told: list = field(default_factory=list)

    def publish(self, epoch, run):
        self.told.append(dict(run.validation))


def monitor(**settings):
    given = {
        "metrics": "sparseness",
        "explainers": "center_heatmap",
        "num_images": 3,
        "reports": Listening(),
        **settings,
    }
    return ExplanationMonitor(**given)


def told(module=None, data=DATA, labels=None, val=None, trainer=None, **settings):
    """Return what the report was told in each validation, and the module."""
    torch.manual_seed(1)
    ours, module = monitor(**settings), Through() if module is None else module
    val = data.loader(data.labels if labels is None else labels) if val is None else val
    fit(ours, module=module, val=val, **(trainer or {}))
    return ours.reports[0].told, module


def by_hand(module, data=DATA):
    """Keys in order, and labels and logits in the same order, of one forward in eval mode."""
    keys = content_keys(data.images)
    order = keys.argsort()
    with torch.no_grad():
        logits = module.eval()(data.images)
    return keys[order], data.labels[order], logits[order]


def agrees(found, module, data=DATA):
    keys, labels, logits = by_hand(module, data)
    assert torch.equal(found.keys, keys)
    assert torch.equal(found.labels, labels)
    torch.testing.assert_close(found.logits, logits, rtol=1e-4, atol=1e-5)
    assert found.complete


class TestWhatIsHeard:
    def test_every_image_in_every_validation(self):
        (first, last), module = told(trainer={"max_epochs": 2})
        agrees(last[0], module)
        assert torch.equal(first[0].keys, last[0].keys)
        assert not torch.equal(first[0].logits, last[0].logits)

    @pytest.mark.parametrize("stage", ["validate", "test"])
    def test_other_stages(self, stage):
        from tests.callbacks._tiny import trainer_of

        ours, module = monitor(), Through()
        getattr(trainer_of(ours), stage)(module, DATA.loader(), verbose=False)
        agrees(ours.reports[0].told[0][0], module)

    @pytest.mark.parametrize("form", ["tensor", "dict", "object", "tuple"])
    def test_forms_of_outputs(self, form):
        class Reading(Module):
            def loss(self, batch):
                output = self(batch[0])
                logits = {"tensor": lambda: output, "dict": lambda: output["logits"]}.get(
                    form, lambda: getattr(output, "logits", None) if form == "object" else output[0]
                )()
                return F.cross_entropy(logits, batch[1])

        (found,), module = told(Reading(form=form))
        module.form = "tensor"
        agrees(found[0], module)

    def test_a_batch_that_the_step_changes(self):
        class InPlace(Module):
            def loss(self, batch):
                logits = self(batch[0])
                loss = F.cross_entropy(logits, batch[1])
                if not self.training:
                    batch[0].zero_()
                    batch[1].zero_()
                    logits.zero_()
                return loss

        (found,), module = told(InPlace(), val=Copies(DATA).loader())
        agrees(found[0], module)

    def test_a_module_that_only_steps(self):
        (found,), module = told(OnlySteps())
        agrees(found[0], module.net)

    def test_several_loaders(self):
        other = Squares(5, seed=3)
        (found,), module = told(Through(), val=[DATA.loader(), other.loader()])
        agrees(found[0], module)
        agrees(found[1], module, other)

    def test_mappings_and_functions_of_batches(self):
        class FromDict(Module):
            def loss(self, batch):
                return F.cross_entropy(self(batch["picture"]), batch["kind"])

        loader = DataLoader(Dicts(picture=DATA.images, kind=DATA.labels), 4)
        (found,), module = told(
            FromDict(), val=loader, sample_from_batch=lambda batch: Sample(batch["picture"], batch["kind"])
        )
        agrees(found[0], module)

    def test_repeated_images_stand_once(self):
        twice = Squares(5)
        twice.images, twice.labels = twice.images.repeat(2, 1, 1, 1), twice.labels.repeat(2)
        (found,), module = told(Through(), data=twice)
        agrees(found[0], module, Squares(5))

    def test_equal_images_of_two_labels_are_two(self):
        twice = Squares(5)
        twice.images, twice.labels = twice.images.repeat(2, 1, 1, 1), torch.cat([twice.labels, (twice.labels + 1) % 3])
        (found,), _ = told(Through(), data=twice)
        assert len(found[0]) == 10

    def test_binary_and_multilabel(self):
        labels = DATA.labels % 2
        (found,), module = told(Through(1), labels=labels.float())
        _, _, logits = by_hand(module)
        assert found[0].task == "binary"
        torch.testing.assert_close(found[0].logits, torch.cat([-logits, logits], 1), rtol=1e-4, atol=1e-5)
        several = F.one_hot(DATA.labels, 3).float()
        several[::2, 0] = 1.0
        (found,), module = told(Through(), labels=several)
        assert found[0].task == "multilabel"
        assert torch.equal(found[0].labels, several[content_keys(DATA.images).argsort()])

    def test_probabilities_are_turned_back(self):
        class Ends(Through):
            def forward(self, images):
                return self.net(images).softmax(1)

        (found,), module = told(Ends(), readout=Readout(output="probability"))
        _, _, probabilities = by_hand(module)
        torch.testing.assert_close(found[0].probabilities, probabilities, rtol=1e-4, atol=1e-5)

    def test_without_labels(self):
        class Unlabelled(Module):
            def loss(self, batch):
                return self(batch[0]).square().mean()

        loader = DataLoader(torch.utils.data.TensorDataset(DATA.images), 4)
        (found,), _ = told(Unlabelled(), val=loader, target="predicted")
        assert found[0].labels.tolist() == [-1] * len(DATA.images)
        assert len(found[0].wrong()) == 0

    def test_a_single_image_that_the_model_squeezes(self):
        class Squeezes(Module):
            def forward(self, images):
                return self.net(images).squeeze()

            def loss(self, batch):
                return F.cross_entropy(self(batch[0]).view(len(batch[1]), -1), batch[1])

        data = Squares(5)
        (found,), module = told(Squeezes(), val=data.loader(), data=data)
        agrees(found[0], module, data)

    @pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true", "64-true"])
    def test_precisions(self, precision):
        (found,), module = told(trainer={"precision": precision})
        assert found[0].logits.dtype == torch.float32
        assert len(found[0]) == len(DATA.images)
        with torch.no_grad():
            expected = module.float().eval()(DATA.images)
        keys = content_keys(DATA.images.to(torch.bfloat16 if precision == "bf16-true" else torch.float32))
        torch.testing.assert_close(found[0].logits, expected[keys.argsort()], rtol=0.1, atol=0.1)


class Copies:
    """The same images in fresh tensors each time, for steps that write into them."""

    def __init__(self, data):
        self.pairs = list(zip(data.images, data.labels, strict=True))

    def __len__(self):
        return len(self.pairs)

    def __getitem__(self, index):
        return tuple(part.clone() for part in self.pairs[index])

    def loader(self):
        return DataLoader(self, 4)


class Bypasses(Module):
    def forward(self, images):
        return self.net(images)

    def loss(self, batch):
        return F.cross_entropy(self.net(batch[0]), batch[1])


class Twice(Module):
    def loss(self, batch):
        return F.cross_entropy(self(batch[0]) + self(batch[0].flip(-1)), batch[1])


class Halves(Module):
    def loss(self, batch):
        half = self(batch[0][: len(batch[0]) // 2])
        return F.cross_entropy(half, batch[1][: len(half)])


class TestWhatIsNotHeard:
    @pytest.mark.parametrize(
        ("module", "said"),
        [
            (Bypasses, "a step calls Bypasses not at all"),
            (Twice, "a step calls Twice 2 times"),
            (Halves, "a step calls Halves once, but not with all images"),
        ],
    )
    def test_it_is_said_once(self, module, said):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            found, _ = told(module(), trainer={"max_epochs": 3})
        assert found == [{}, {}, {}]
        assert sum(said in str(one.message) for one in caught) == 1

    def test_compiled_code(self):
        class Inner(Module):
            def __init__(self):
                super().__init__()
                self.net = nn.Sequential(self.net)
                self.net.compile(backend="eager")

        with pytest.warns(UserWarning, match="no logits of the whole validation.*inside compiled code"):
            found, _ = told(Inner(), readout=Readout(forward="net.0"))
        assert found == [{}]

    def test_too_many_images(self, monkeypatch, caplog):
        monkeypatch.setattr(hearing, "MOST_IMAGES", 6)
        with caplog.at_level("INFO"):
            (first, second), _ = told(trainer={"max_epochs": 2})
        assert len(first[0]) == len(second[0]) == 6
        assert not first[0].complete
        assert set(first[0].keys.tolist()) == set(content_keys(DATA.images[:6]).tolist())
        assert caplog.text.count("keeps the logits of 6 images of the validation, not of all") == 1

    def test_nobody_asks(self, monkeypatch):
        monkeypatch.setattr(hearing, "WatchedValidation", None)
        fit(monitor(reports=()), module=Module(), val=DATA.loader())


class Counting(Through):
    def __init__(self):
        super().__init__()
        self.forwards = []

    def forward(self, images):
        if not self.training:
            self.forwards.append(len(images))
        return super().forward(images)


class TestNoTrace:
    def weights(self, *callbacks):
        torch.manual_seed(0)
        module = Through()
        fit(*callbacks, module=module, val=DATA.loader(), max_epochs=3)
        return module.state_dict()

    def test_weights(self):
        assert differing(self.weights(), self.weights(monitor())) == []

    def test_evaluations(self):
        found = []
        for reports in ((), Listening()):
            ours = monitor(reports=reports)
            fit(ours, module=Through(), val=DATA.loader(), max_epochs=2)
            found.append([row["xai/model_evaluations"] for row in ours.history])
        assert found[0] == found[1]

    def test_hooks_are_gone(self):
        during = []

        class Looks(Through):
            def validation_step(self, batch, batch_idx, dataloader_idx=0):
                during.append(len(self._forward_hooks))
                super().validation_step(batch, batch_idx)

            def training_step(self, batch, batch_idx):
                during.append(-len(self._forward_hooks))
                return super().training_step(batch, batch_idx)

        module = Looks()
        fit(monitor(), module=module, val=DATA.loader(), max_epochs=2)
        assert max(during) > 0 == min(during)
        assert not any(one._forward_hooks or one._forward_pre_hooks for one in module.modules())

    def test_hooks_are_gone_after_an_error(self):
        class Fails(Through):
            def validation_step(self, batch, batch_idx, dataloader_idx=0):
                super().validation_step(batch, batch_idx)
                if not self.trainer.sanity_checking and batch_idx == 2:
                    raise LookupError("of the user")

        module = Fails()
        with pytest.raises(LookupError, match="of the user"):
            fit(monitor(), module=module, val=DATA.loader())
        assert not any(one._forward_hooks or one._forward_pre_hooks for one in module.modules())

    @pytest.mark.parametrize("how", ["deepcopy", "pickle"])
    def test_a_copy_made_in_a_step_listens_to_nothing(self, how):
        copies = []

        class Copying(Through):
            def validation_step(self, batch, batch_idx, dataloader_idx=0):
                super().validation_step(batch, batch_idx)
                if how == "deepcopy":
                    copies.append(copy.deepcopy(self.net))
                else:
                    torch.save(self.net, io.BytesIO())

        (found,), module = told(Copying(), readout=Readout(forward="net"))
        agrees(found[0], module.net)
        for one in copies:
            one(DATA.images)

    def test_no_step_waits_for_a_device(self):
        """Reading a value is what makes a process wait for its device; on the CPU it can be counted."""

        class Reads(TorchDispatchMode):
            names = ("_local_scalar_dense", "nonzero", "is_nonzero", "equal", "_to_copy")

            def __torch_dispatch__(self, func, types, args=(), kwargs=None):
                found.extend(name for name in self.names if name in str(func))
                return func(*args, **(kwargs or {}))

        net, found = tiny_net(), []
        listening = WatchedValidation(net, Readout())
        images = [DATA.images[:4], DATA.labels[:4]]
        at = Validation(None, net, RunState(Effort(4), listening=listening), Readout())
        with torch.no_grad():
            logits = net.eval()(images[0])
            with Reads():
                Hearing(sample_from_batch, None, for_reports=True).begin_batch(at, images, 0)
                listening._enter(net, ())
                listening._leave(net, None, logits)
                listening.end_batch()
        assert [name for name in found if name != "_to_copy"] == []
        assert len(listening.shares()[0].keys) == 4


class TestValidationLogits:
    def test_the_most_confidently_wrong_come_first(self):
        logits = torch.tensor([[0.0, 60.0, 0.0], [0.0, 40.0, 0.0], [3.0, 0.0, 0.0], [0.0, 0.1, 0.0], [0.0, 9.0, 0.0]])
        found = ValidationLogits(torch.arange(5), torch.tensor([0, 2, 0, 0, -1]), logits, "multiclass")
        assert found.wrong().tolist() == [0, 1, 3]  # the first two are both wrong with a probability of 1
        expected = logits[:4].double().logsumexp(1) - logits[range(4), [0, 2, 0, 0]]
        torch.testing.assert_close(found.losses[:4].double(), expected, rtol=1e-5, atol=1e-6)
        assert found.losses[4].isnan()

    def test_binary(self):
        scores = torch.tensor([3.0, -2.0, 0.5, -50.0])
        logits, labels = torch.stack([-scores, scores], 1), torch.tensor([0, 0, 0, 1])
        found = ValidationLogits(torch.arange(4), labels, logits, "binary")
        expected = F.binary_cross_entropy_with_logits(scores, labels.float(), reduction="none")
        torch.testing.assert_close(found.losses, expected)
        assert found.wrong().tolist() == [3, 0, 2]

    def test_multilabel(self):
        logits = torch.tensor([[4.0, -4.0], [-1.0, -9.0], [5.0, 5.0]])
        labels = torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0]])
        found = ValidationLogits(torch.arange(3), labels, logits, "multilabel")
        assert found.wrong().tolist() == [2, 1]
        assert found.losses.tolist() == pytest.approx([0.01815, 1.31326, 5.00672], abs=1e-4)

    def test_distributions(self):
        labels = torch.tensor([[0.1, 0.9], [0.8, 0.2]])
        found = ValidationLogits(torch.arange(2), labels, torch.tensor([[0.0, 1.0], [0.0, 1.0]]), "multiclass")
        assert found.wrong().tolist() == [1]


def test_what_is_on_a_device_moves_only_when_it_is_much(monkeypatch):
    monkeypatch.setattr(watched_validation, "_MOST_ON_DEVICE", 20)
    listening = WatchedValidation(nn.Flatten(), Readout())
    places = []
    for _ in range(3):
        images, labels = torch.zeros(4, 1, 2, 3, device="meta"), torch.zeros(4, device="meta")
        listening.begin_batch(0, sample_of_checked(images=images, labels=labels))
        listening._rows = [torch.zeros(4, 3, device="meta")]
        monkeypatch.setattr(torch.Tensor, "cpu", lambda tensor: torch.zeros(tensor.shape))
        listening.end_batch()
        places.append([part[1].device.type for part in listening._parts[0]])
    assert places == [["meta"], ["cpu", "cpu"], ["cpu", "cpu", "meta"]]


def test_another_monitor_is_no_part_of_the_steps():
    first, second = monitor(), monitor(prefix="more")
    fit(first, second, module=Through(), val=DATA.loader(), max_epochs=2)
    for one, other in zip(first.reports[0].told, second.reports[0].told, strict=True):
        assert torch.equal(one[0].keys, other[0].keys)
        assert torch.equal(one[0].logits, other[0].logits)
        assert len(one[0].keys) == 14
