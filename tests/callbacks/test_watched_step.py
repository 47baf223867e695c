"""What a step sends through the model, and what comes back, is held against what we would send."""

from __future__ import annotations

import os
import warnings
from unittest import mock

import pytest
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from torch import nn
from torch._dynamo.testing import CompileCounter
from torch.nn import functional as F

from lightning_xai import Classifier, ExplanationMonitor, Readout
from lightning_xai.callbacks.steps.watched_step import WatchedStep
from lightning_xai.metrics import InsertionDeletion, Sparseness
from lightning_xai.probing import Sample
from tests.callbacks._runs import differing
from tests.callbacks._tiny import NO_PICTURES, Module, Squares, fit, tiny_net, trainer_of

DATA = Squares(12)


@pytest.fixture(autouse=True)
def _files_go_to_tmp(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def monitor(**settings):
    given = {"metrics": [InsertionDeletion(4)], "num_images": 6, "reports": NO_PICTURES, **settings}
    return ExplanationMonitor(**given)


class Stepping(Module):
    """Sends something through its net in `scores`, which both steps use."""

    def scores(self, images):
        return self(images)

    def training_step(self, batch, batch_idx):
        return F.cross_entropy(self.scores(batch[0]), batch[1])

    def validation_step(self, batch, batch_idx, dataloader_idx=0):
        accuracy = (self.scores(batch[0]).argmax(1) == batch[1]).float().mean()
        self.log("val_accuracy", accuracy, batch_size=len(batch[1]))


class Normalizing(Stepping):
    def scores(self, images):
        return self((images - 0.5) / 0.25)


class InPlace(Stepping):
    def scores(self, images):
        return self(images.sub_(0.5))


class Cropping(Stepping):
    def scores(self, images):
        return self(images[..., 2:-2, 2:-2])


class Repeating(Stepping):
    def scores(self, images):
        return self(images.expand(-1, 1, -1, -1).flip(-1))


class Embedding(Stepping):
    def __init__(self, settings=None):
        super().__init__()
        self.body, self.head = self.net[:-1], self.net[-1]

    def forward(self, images):
        return self.body(images)

    def scores(self, images):
        return self.head(self(images))


class EmbeddingOfTwo(Embedding):
    def forward(self, images):
        features = self.body(images)
        return features, features.norm(dim=1)

    def scores(self, images):
        return self.head(self(images)[0])


class Pair(Embedding):
    def forward(self, images):
        features = self.body(images)
        return features, self.head(features)

    def scores(self, images):
        return self(images)[1]


class Twice(Stepping):
    def scores(self, images):
        return self(images) + self(images.flip(-1))


class PastForward(Stepping):
    def scores(self, images):
        return self.net(images)


class Bypassing(PastForward):
    def forward(self, images):
        return 3.0 * self.net(images)


class Sampling(Stepping):
    """Keeps dropout on in validation."""

    def forward(self, images):
        return self.net(F.dropout(images, 0.9, training=True))


@pytest.mark.parametrize(
    ("module", "said"),
    [
        (Normalizing, r"it sends others: image · 4 \+ -2 in the first channel \(a normalisation in the step\?\)"),
        (InPlace, r"it sends others: image · 1 \+ -0\.5 in the first channel"),
        (Cropping, r"of shape \(1, 16, 16\) each, but it sends \(1, 12, 12\)"),
        (Repeating, r"as they are, but it sends others\. Pass `sample_from_batch="),
        (Embedding, r"validation_step sends what it returns through `(head|net\.7)`"),
        (EmbeddingOfTwo, r"validation_step sends what it returns through `(head|net\.7)`"),
        (Pair, r"a tuple of tensors with 3 and 6 columns: features among them\?.*logits_from_output"),
    ],
)
def test_another_call_than_ours_is_said_before_training(module, said):
    with pytest.raises((MisconfigurationException, ValueError), match=said):
        fit(monitor(), module=module(), val=DATA.loader())


@pytest.mark.parametrize(
    ("module", "said"),
    [
        (Twice, "validation_step calls it 2 times"),
        (Bypassing, "validation_step calls it not at all, but `net`"),
        (Sampling, "gets other logits from Sampling than validation_step"),
    ],
)
def test_what_may_be_meant_is_said_once(module, said):
    ours = monitor()
    with pytest.warns(UserWarning, match=said) as caught:
        fit(ours, module=module(), val=DATA.loader(), max_epochs=2)
    assert sum("validation_step" in str(one.message) for one in caught) == 1
    assert len(ours.history) == 2


def test_another_monitor_is_no_part_of_the_step():
    """Both hold the first step's call against their own, one after the other; the other's is no second call."""
    both = [monitor(), monitor(prefix="more")]
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*validation_step.*")
        fit(*both, module=Stepping(), val=DATA.loader())
    assert all(len(ours.history) == 1 for ours in both)
    with pytest.warns(UserWarning, match="validation_step calls it 2 times") as caught:
        fit(monitor(), monitor(prefix="more"), module=Twice(), val=DATA.loader())
    assert sum("2 times" in str(one.message) for one in caught) == 2


def centred(batch):
    return Sample((batch[0] - 0.5) / 0.25, batch[1])


@pytest.mark.parametrize(
    ("module", "settings"),
    [
        (Stepping, {}),
        (PastForward, {}),
        (Normalizing, {"sample_from_batch": centred}),
        (Pair, {"readout": Readout(logits_from_output=1)}),
        (Bypassing, {"readout": Readout(forward="net")}),
    ],
)
def test_what_is_settled_is_right_and_quiet(module, settings):
    ours, net = monitor(**settings), module()
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*validation_step.*")
        trainer = fit(ours, module=net, val=DATA.loader())
    assert float(trainer.callback_metrics["val_accuracy"]) == pytest.approx(
        (net.eval().scores(DATA.images).argmax(1) == DATA.labels).float().mean().item()
    )
    rows = [[int(key) for key in ours.latest.loaders[0].keys]]
    assert len(rows[0]) == 6
    explained_right = (ours.latest.loaders[0].predicted == ours.latest.loaders[0].labels).float().mean().item()
    assert ours.latest["xai/probe_accuracy"] == pytest.approx(explained_right)


class Binary(Stepping):
    """Returns its loss, one number, from the step: no logit."""

    def __init__(self, settings=None):
        super().__init__(1)

    def training_step(self, batch, batch_idx):
        return F.binary_cross_entropy_with_logits(self(batch[0])[:, 0], (batch[1] % 2).float())

    def validation_step(self, batch, batch_idx, dataloader_idx=0):
        return self.training_step(batch, batch_idx)


@pytest.mark.filterwarnings("ignore:.*though all of it lies in")
class TestWrapped:
    """A strategy that wraps the module runs the step as a call of it."""

    @pytest.fixture(autouse=True)
    def _leaves_no_process_group(self):
        with mock.patch.dict(os.environ):
            yield
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()

    @pytest.mark.parametrize("sanity", [0, 2])
    @pytest.mark.parametrize(
        ("module", "said"),
        [
            (Normalizing, "a normalisation in the step"),
            (Cropping, r"but it sends \(1, 12, 12\)"),
            (Embedding, r"through `(head|net\.7)`"),
        ],
    )
    def test_another_call_is_said(self, module, said, sanity):
        with pytest.raises(MisconfigurationException, match=said):
            fit(monitor(), module=module(), val=DATA.loader(), strategy="ddp", num_sanity_val_steps=sanity)

    @pytest.mark.parametrize(("module", "said"), [(Twice, "calls it 2 times"), (Bypassing, "not at all, but `net`")])
    def test_what_may_be_meant_is_said(self, module, said):
        with pytest.warns(UserWarning, match=said):
            fit(monitor(), module=module(), val=DATA.loader(), strategy="ddp")

    @pytest.mark.parametrize("module", [Stepping, PastForward, Binary])
    def test_our_call_is_quiet(self, module):
        labels = DATA.labels % 2 if module is Binary else DATA.labels
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message=".*validation_step.*")
            fit(monitor(on_error="raise"), module=module(), val=DATA.loader(labels), strategy="ddp")


def test_an_error_of_the_comparison_is_told_like_any_other(monkeypatch):
    def fails(*_):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(WatchedStep, "compare", fails)
    ours = monitor()
    with pytest.warns(UserWarning, match="logs nothing for epoch 0, .*out of memory"):
        fit(ours, module=Stepping(), val=DATA.loader(), num_sanity_val_steps=0, max_epochs=2)
    assert [one.epoch for one in ours.history] == [1]


def test_without_a_sanity_check_the_first_validation_looks():
    with pytest.raises(MisconfigurationException, match="a normalisation in the step"):
        fit(monitor(), module=Normalizing(), val=DATA.loader(), num_sanity_val_steps=0)


def test_channels_last():
    class Last(Stepping):
        def forward(self, images):
            return super().forward(images.permute(0, 3, 1, 2))

    data = Squares(12)
    data.images = data.images.permute(0, 2, 3, 1).contiguous()
    with pytest.raises(ValueError, match="whose channels seem to come last"):
        fit(monitor(), module=Last(), val=data.loader())

    def first(batch):
        return Sample(batch[0].permute(0, 3, 1, 2), batch[1])

    ours = monitor(sample_from_batch=first, readout=Readout(forward="net"))
    fit(ours, module=Last(), val=data.loader())
    assert len(ours.history) == 1


def test_watching_leaves_nothing_behind():
    net = Stepping()
    fit(monitor(), module=net, val=DATA.loader(), max_epochs=2)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())
    assert not nn.modules.module._global_forward_pre_hooks

    class Failing(Stepping):
        def validation_step(self, batch, batch_idx, dataloader_idx=0):
            self(batch[0])
            raise LookupError("of the user")

    net = Failing()
    with pytest.raises(LookupError, match="of the user"):
        fit(monitor(), module=net, val=DATA.loader())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())
    assert not nn.modules.module._global_forward_pre_hooks


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "bf16-true", "64-true"])
def test_every_precision_of_a_trainer_is_the_steps_own(precision):
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*validation_step.*")
        fit(monitor(), module=Stepping(), val=DATA.loader(), precision=precision)


class Ending(nn.Module):
    """A net and what comes after it."""

    def __init__(self, end, classes=3):
        super().__init__()
        self.net, self.end = tiny_net(classes), end

    def forward(self, images):
        return self.end(self.net(images))


class EndingIn(Module):
    def __init__(self, end, classes=3):
        super().__init__(classes)
        self.net = Ending(end, classes)

    def training_step(self, batch, batch_idx):
        return self(batch[0]).sum() * 0.0

    def validation_step(self, batch, batch_idx, dataloader_idx=0):
        self(batch[0])


ENDS = {
    "softmax": lambda z: z.softmax(1),
    "functional": lambda z: F.softmax(z, dim=-1),
    "module": nn.Softmax(dim=1),
    "sigmoid": torch.sigmoid,
}


class TestProbabilities:
    @pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
    def test_the_last_operation_tells(self, end):
        said = r"its last operation is s\w+, which makes probabilities: set Readout\(output="
        with pytest.raises(ValueError, match=said):
            fit(monitor(), module=EndingIn(end), val=DATA.loader())

    @pytest.mark.parametrize("squeezed", [lambda z: z.sigmoid().squeeze(1), lambda z: z.sigmoid()[:, 0], nn.Sigmoid()])
    def test_of_one_output_too(self, squeezed):
        labels = DATA.labels % 2
        with pytest.raises(ValueError, match="its last operation is sigmoid"):
            fit(monitor(), module=EndingIn(squeezed, classes=1), val=DATA.loader(labels))

    def test_rows_that_sum_to_one_tell_where_no_operation_does(self):
        hidden = torch.jit.script(nn.Softmax(dim=1))
        with pytest.raises(MisconfigurationException, match="each image's sum to 1"):
            fit(monitor(explainers="center_heatmap"), module=EndingIn(hidden), val=DATA.loader())

    @pytest.mark.parametrize(
        ("end", "epochs", "said"),
        [
            pytest.param(lambda z: (z * 1e4).sin().abs(), 1, False, id="far apart, perhaps for a moment"),
            pytest.param(lambda z: (z * 1e4).sin().abs(), 3, True, id="far apart, said once"),
            pytest.param(lambda z: 0.5 + 0.1 * (z * 1e4).sin(), 3, False, id="near each other"),
            pytest.param(lambda z: (z * 1e4).sin(), 3, False, id="on both sides of 0"),
        ],
    )
    def test_one_column_between_0_and_1_only_warns(self, end, epochs, said):
        ours, module = monitor(), EndingIn(end, classes=1)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            fit(ours, module=module, val=DATA.loader(DATA.labels % 2), max_epochs=epochs)
        assert sum("lies in [0, 1]" in str(one.message) for one in caught) == said
        assert len(ours.history) == epochs

    def test_outside_a_fit_one_validation_is_enough(self):
        trainer, module = trainer_of(monitor()), EndingIn(lambda z: (z * 1e4).sin().abs(), classes=1)
        with pytest.warns(UserWarning, match=r"though all of it lies in \[0, 1\]"):
            trainer.validate(module, DATA.loader(DATA.labels % 2), verbose=False)

    @pytest.mark.parametrize("end", [lambda z: z, lambda z: z.log_softmax(1), lambda z: z.softmax(1) * 9.0 - 3.0])
    def test_logits_are_no_probabilities(self, end):
        fit(monitor(), module=EndingIn(end), val=DATA.loader())

    def test_the_setting_is_not_doubted(self):
        ours = monitor(readout=Readout(output="logit"))
        fit(ours, module=EndingIn(lambda z: z.softmax(1)), val=DATA.loader())
        assert ours.latest["xai/probe_confidence"] < 0.6  # a softmax of a softmax

    @pytest.mark.parametrize(
        ("end", "classes", "task"),
        [
            (lambda z: z.softmax(1), 3, "multiclass"),
            (lambda z: z.sigmoid(), 1, "binary"),
            (lambda z: z.sigmoid(), 3, "multilabel"),
        ],
    )
    def test_probabilities_are_turned_back_exactly(self, end, classes, task):
        torch.manual_seed(3)
        net = Ending(end, classes)
        for parameter in net.parameters():
            nn.init.normal_(parameter, std=0.7)
        images = 2.0 * DATA.images
        classifier = Classifier(net, Readout(task=task, output="probability"))
        plain = Classifier(net.net, Readout(task=task))
        found, expected = (one.probabilities(one.logits(images)) for one in (classifier, plain))
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
        if task != "multiclass":
            torch.testing.assert_close(classifier.logits(images), plain.logits(images), rtol=1e-3, atol=1e-4)

    def test_numbers_of_a_run_are_those_of_the_logits(self):
        found = []
        for end, readout in ((nn.Identity(), None), (nn.Softmax(dim=1), Readout(output="probability"))):
            torch.manual_seed(5)
            ours = monitor(readout=readout, metrics=[InsertionDeletion(4), Sparseness()], explainers="center_heatmap")
            fit(ours, module=EndingIn(end), val=DATA.loader())
            found.append(ours.latest)
        for key in ("xai/faithfulness", "xai/probe_confidence", "xai/probe_accuracy", "xai/sparseness"):
            assert found[0][key] == pytest.approx(found[1][key], abs=1e-5)


class TestFloatTypes:
    """Images in another precision than the weights, which the user's step converts, are converted for us too."""

    @pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
    @pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
    def test_the_run_goes_on(self, dtype, precision):
        class Casting(Stepping):
            def scores(self, images):
                return self(images.to(self.net[0].weight.dtype))

        data = Squares(12)
        data.images = data.images.to(dtype)
        ours = monitor(on_error="raise")
        fit(ours, module=Casting(), val=data.loader(), precision=precision)
        assert len(ours.history) == 1


def test_training_is_what_it_is_without_us():
    states = []
    for callbacks in ([], [monitor()]):
        torch.manual_seed(0)
        net = Stepping()
        fit(*callbacks, module=net, val=DATA.loader(), max_epochs=3)
        states.append(net.state_dict())
    assert differing(*states) == []


class TestCompiled:
    """A hook that compiled code comes past would be compiled into it, and the code a second time without it."""

    @staticmethod
    def compiled(how, backend):
        module = Stepping()
        if how == "torch.compile(net)":
            module.net = torch.compile(module.net, backend=backend)
        elif how == "net.compile()":
            module.net.compile(backend=backend)
        elif how == "part":
            module.net[3] = torch.compile(module.net[3], backend=backend)
        elif how == "forward":
            module.forward = torch.compile(module.forward, backend=backend)
        return module

    @pytest.mark.parametrize("how", ["torch.compile(net)", "net.compile()", "part", "forward"])
    def test_the_users_networks_are_compiled_once(self, how):
        compiled = []
        for callbacks in ([], [monitor(metrics=[Sparseness()])]):
            torch.compiler.reset()
            counter = CompileCounter()
            torch.manual_seed(0)
            fit(*callbacks, module=self.compiled(how, counter), val=DATA.loader(), max_epochs=2)
            compiled.append((counter.frame_count, counter.op_count))
        assert compiled[0] == compiled[1] > (0, 0)

    @pytest.mark.parametrize("how", ["torch.compile(net)", "net.compile()", "part"])
    def test_what_is_around_is_still_compared(self, how):
        class Wrong(Stepping):
            scores = Normalizing.scores

        module = self.compiled(how, "eager")
        module.__class__ = Wrong
        with pytest.raises(MisconfigurationException, match="a normalisation in the step"):
            fit(monitor(), module=module, val=DATA.loader())
