"""State that `forward` writes besides buffers: final weights are those without the monitor; without its guard not."""

import random
import warnings
from collections import Counter, defaultdict, deque
from itertools import pairwise

import numpy as np
import pytest
import torch
from lightning.pytorch.loggers import WandbLogger
from torch import nn
from torch.nn import functional as F

from tests.callbacks._runs import Net, differing, monitor, train, unguarded


@pytest.fixture(autouse=True)
def _files_go_to_tmp(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


class Stateful(Net):
    """Its logits are scaled by a number that depends on every forward before."""

    def __init__(self):
        super().__init__()
        self.start()

    def start(self):
        pass

    def forward(self, images):
        features = self.net(images).mean((2, 3))
        scale = 1 + 0.1 * self.next(features.detach().mean())
        return self.head(features) * scale


class Attribute(Stateful):
    """A count, as for an annealed temperature."""

    calls = 0

    def next(self, mean):
        self.calls += 1
        return self.calls % 7


class TensorAttribute(Stateful):
    def start(self):
        self.centre = torch.zeros(())

    def next(self, mean):
        return self.centre.mul_(0.9).add_(mean)


class TensorData(TensorAttribute):
    """Written without autograd's knowledge: no version counter tells."""

    def next(self, mean):
        self.centre.data.mul_(0.9).add_(mean)
        return self.centre


class TensorReplaced(TensorAttribute):
    def next(self, mean):
        self.centre = 0.9 * self.centre + mean
        return self.centre


class FeatureList(Stateful):
    def start(self):
        self.features = []

    def next(self, mean):
        self.features.append(mean)
        return torch.stack(self.features).std(correction=0) * len(self.features)


class FeatureQueue(Stateful):
    def start(self):
        self.queue = deque([torch.zeros(()), torch.ones(())], maxlen=5)

    def next(self, mean):
        self.queue.append(mean)
        return sum(torch.stack(pair).std() for pair in pairwise(self.queue))


class TupleOfTensors(Stateful):
    """As a recurrent network's hidden state, but written in place."""

    def start(self):
        self.hidden = (torch.zeros(()), torch.ones(()))

    def next(self, mean):
        for one in self.hidden:
            one.mul_(0.9).add_(mean)
        return self.hidden[1]


class CountsByName(Stateful):
    def start(self):
        self.counts = Counter()

    def next(self, mean):
        self.counts["calls"] += 1
        return self.counts["calls"] % 7


class QueuesByClass(Stateful):
    """Containers in containers."""

    def start(self):
        self.queues = defaultdict(lambda: deque(maxlen=3))

    def next(self, mean):
        self.queues["all"].append(mean)
        return sum(self.queues["all"])


class TorchGenerator(Stateful):
    """Dropout with a generator of its own."""

    def start(self):
        self.draw = torch.Generator().manual_seed(0)

    def next(self, mean):
        return torch.rand((), generator=self.draw)


class NumpyGenerator(Stateful):
    def start(self):
        self.draw = np.random.default_rng(0)

    def next(self, mean):
        return self.draw.random()


class NumpyRandomState(NumpyGenerator):
    def start(self):
        self.draw = np.random.RandomState(0)


class PythonGenerator(NumpyGenerator):
    def start(self):
        self.draw = random.Random(0)


class Array(Stateful):
    def start(self):
        self.histogram = np.zeros(4)

    def next(self, mean):
        self.histogram[int(self.histogram.sum()) % 4] += 1
        return float(self.histogram[1])


class Meter:
    def __init__(self):
        self.total, self.count = 0.0, 0

    def update(self, value):
        self.total, self.count = self.total + value, self.count + 1


class PlainObject(Stateful):
    def start(self):
        self.meter = Meter()

    def next(self, mean):
        self.meter.update(float(mean))
        return self.meter.count % 7 + self.meter.total / self.meter.count


class FrozenParameter(Stateful):
    """Prototypes, code books."""

    def start(self):
        self.centre = nn.Parameter(torch.zeros(()), requires_grad=False)

    def next(self, mean):
        self.centre.data.mul_(0.9).add_(mean)
        return self.centre


class NormalisedWeight(Stateful):
    """A trained weight that every forward brings closer to length one, as prototypes that are compared by angle."""

    def next(self, mean):
        with torch.no_grad():
            self.head.weight.mul_(0.5).add_(F.normalize(self.head.weight, dim=1), alpha=0.5)
        return 0.0


class GrowingChildren(Stateful):
    def start(self):
        self.steps = nn.ModuleList()

    def next(self, mean):
        self.steps.append(nn.Identity())
        return len(self.steps) % 7


class MadeWhenNeeded(Stateful):
    """A child that the first forward makes, and every further one replaces."""

    def next(self, mean):
        self.scale = nn.Linear(1, 1)
        return self.scale.weight.detach().squeeze()


class HiddenTeacher(Stateful):
    """A module that `modules()` does not show."""

    def start(self):
        self.teacher = [nn.BatchNorm1d(1, momentum=0.1)]

    def next(self, mean):
        self.teacher[0](torch.stack([mean, mean + 1])[:, None])
        return self.teacher[0].running_mean


class ResizedBuffer(Stateful):
    """As observers of quantisation do."""

    def start(self):
        self.register_buffer("seen", torch.zeros(0))

    def next(self, mean):
        self.seen.resize_(self.seen.numel() + 1)[-1] = mean
        return self.seen.numel() % 7


class HookThatCounts(Stateful):
    """The user's own, which counts in what the module owns."""

    def start(self):
        self.counts = {"calls": 0}
        self.net[0].register_forward_hook(lambda *_: self.counts.update(calls=self.counts["calls"] + 1))

    def next(self, mean):
        return self.counts["calls"] % 7


class Scaled(nn.Module):
    calls: int

    def __init__(self):
        super().__init__()
        self.calls, self.centre = 0, torch.zeros(())

    def forward(self, mean):
        self.calls += 1
        self.centre.add_(mean)
        return self.centre * (self.calls % 7)


class Scripted(Stateful):
    def start(self):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # `torch.jit.script` is deprecated
            self.scaled = torch.jit.script(Scaled())

    def next(self, mean):
        return self.scaled(mean)


def kinds(base):
    return [base, *(kind for one in base.__subclasses__() for kind in kinds(one))]


@pytest.mark.filterwarnings("ignore:.*a state that each call changes")
@pytest.mark.parametrize("make", kinds(Stateful)[1:], ids=lambda make: make.__name__)
def test_final_weights_are_the_same(make, monkeypatch):
    explainer = "saliency" if make is Scripted else "grad_cam"
    expected = train([], make)
    run = train([monitor(explainer)], make)
    assert differing(run.state(), expected.state()) == []
    assert run.values() == expected.values()
    with unguarded(monkeypatch):
        assert differing(train([monitor(explainer)], make).state(), expected.state()) != []


class Watched(Net):
    def setup(self, stage):
        self.logger.experiment.watch(self.net, log="all", log_freq=10, idx=0)


def histograms(callbacks, folder, monkeypatch):
    """Return the names under which `wandb.watch` logs during a fit, in their order."""
    from wandb.integration.torch.wandb_torch import TorchHistory

    names = []
    logger = WandbLogger(save_dir=folder, offline=True)
    with monkeypatch.context() as patch:
        patch.setattr(TorchHistory, "log_tensor_stats", lambda self, tensor, name: names.append(name))
        train(callbacks, Watched, logger=logger, max_epochs=4)
    logger.experiment.unwatch()
    logger.experiment.finish()
    return names


def test_wandb_watch_logs_what_it_logs_without(tmp_path, monkeypatch):
    for name, value in {"MODE": "offline", "CONSOLE": "off", "DISABLE_GIT": "true"}.items():
        monkeypatch.setenv(f"WANDB_{name}", value)
    expected = histograms([], tmp_path / "without", monkeypatch)
    assert {name.partition("/")[0] for name in expected} == {"parameters", "gradients"}
    assert histograms([monitor()], tmp_path / "with", monkeypatch) == expected
    with unguarded(monkeypatch):
        assert histograms([monitor()], tmp_path / "unguarded", monkeypatch) != expected
