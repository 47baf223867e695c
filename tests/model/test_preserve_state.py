"""What `preserved` puts back of Python state, parameters and hooks; what it leaves alone; what it says of the rest."""

import random
import warnings
from collections import OrderedDict, deque
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from types import SimpleNamespace

import lightning as L
import numpy as np
import pytest
import torch
from torch import distributed, nn
from torch.ao.quantization import HistogramObserver, MovingAveragePerChannelMinMaxObserver, PerChannelMinMaxObserver

from lightning_xai import Classifier, GradCAM, Saliency, preserved
from lightning_xai.model.restore import attributes, tensors
from lightning_xai.model.restore.tensors import restore_each
from tests._nets import ConvNet

IMAGES = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(1))


@dataclass
class Record:
    total: float = 0.0
    rows: list = field(default_factory=lambda: [torch.zeros(2)])


class Holder(nn.Module):
    """Holds one thing."""

    def __init__(self, held):
        super().__init__()
        self.fc = nn.Linear(2, 2)
        self.held = held


def tell(value):
    """Return all about a value as text."""
    if isinstance(value, torch.Generator):
        return repr(value.get_state().tolist())
    if isinstance(value, np.random.Generator):
        return repr(value.bit_generator.state)
    if isinstance(value, np.random.RandomState):
        return repr(value.get_state()[1].tolist())
    if isinstance(value, random.Random):
        return repr(value.getstate())
    if isinstance(value, nn.Module):
        return repr([(name, b.tolist()) for name, b in value.named_buffers()])
    if isinstance(value, (list, dict)):
        return repr([(key, tell(one)) for key, one in (value.items() if isinstance(value, dict) else enumerate(value))])
    return repr(value)


STATES = {
    "list of numbers": (lambda: [1, 2], lambda v: v.append(3)),
    "list reordered": (lambda: [1, 2], lambda v: v.reverse()),
    "tensor in a list": (lambda: [torch.zeros(2)], lambda v: v[0].add_(1)),
    "tensor in a dict of lists": (lambda: {"a": [torch.zeros(2)]}, lambda v: v["a"][0].data.add_(1)),
    "tensor in a dict of dicts of lists": (lambda: {"a": {"b": [torch.zeros(2)]}}, lambda v: v["a"]["b"][0].add_(1)),
    "tensor in a tuple in a list": (lambda: [(1, torch.zeros(2))], lambda v: v[0][1].add_(1)),
    "tensor resized": (lambda: torch.zeros(2, 3), lambda v: v.resize_(5).fill_(1)),
    "tensor reshaped in place": (lambda: torch.arange(6).view(2, 3), lambda v: v.resize_(3, 2)),
    "tensor of whole numbers": (lambda: torch.arange(3), lambda v: v.mul_(2)),
    "full deque": (lambda: deque([1, 2], maxlen=2), lambda v: v.append(3)),
    "ordered dict": (lambda: OrderedDict(a=1, b=2), lambda v: v.move_to_end("a")),
    "dict with a new key": (dict, lambda v: v.update(a=1)),
    "dict without a key": (lambda: {"a": 1, "b": 2}, lambda v: v.pop("a")),
    "set": (lambda: {1}, lambda v: v.add(2)),
    "array": (lambda: np.array([1.0, np.nan]), lambda v: v.__setitem__(0, 5.0)),
    "array resized": (lambda: np.zeros(2), lambda v: v.resize(3, refcheck=False)),
    "record": (Record, lambda v: v.rows[0].add_(1)),
    "record's number": (Record, lambda v: setattr(v, "total", 2.0)),
    "namespace": (lambda: SimpleNamespace(n=1), lambda v: setattr(v, "m", 2)),
    "torch generator": (lambda: torch.Generator().manual_seed(0), lambda v: torch.rand(1, generator=v)),
    "numpy generator": (lambda: np.random.default_rng(0), lambda v: v.random()),
    "numpy random state": (lambda: np.random.RandomState(0), lambda v: v.rand()),
    "python generator": (lambda: random.Random(0), lambda v: v.random()),
    "generator in a dict": (lambda: {"noise": random.Random(0)}, lambda v: v["noise"].random()),
    "module in a list": (lambda: [nn.BatchNorm1d(2)], lambda v: v[0](torch.randn(3, 2))),
}


@pytest.mark.parametrize("raises", [False, True], ids=["", "raising"])
@pytest.mark.parametrize("state", STATES)
def test_what_changes_in_place_is_put_back_in_place(state, raises):
    make, change = STATES[state]
    net, alone = Holder(make()), make()
    held, before = net.held, tell(net.held)
    with pytest.raises(KeyError) if raises else nullcontext(), preserved(net):
        change(net.held)
        net.more, net.held = 1, None
        _ = {}["body"] if raises else None
    assert net.held is held
    assert not hasattr(net, "more")
    assert tell(held) == before
    unchanged = tell(alone)
    change(alone)
    assert tell(alone) != unchanged  # control


def test_tensors_that_stay_equal_are_not_written():
    net = Holder([torch.zeros(2), torch.zeros(2)])
    with preserved(net):
        net.held[0].add_(1)
    assert [tensor._version for tensor in net.held] == [2, 0]


class Untouchable:
    """Any object that is no plain record: it holds something that is no state of a model."""

    def __init__(self):
        self.lock, self.count = object(), 0


class Pairs(torch.utils.data.Dataset):
    def __init__(self):
        self.images = torch.zeros(3)


@pytest.mark.parametrize(
    "make",
    [Untouchable, Pairs, lambda: L.Trainer(logger=False, accelerator="cpu", enable_checkpointing=False), object],
    ids=["object", "dataset", "trainer", "sentinel"],
)
def test_other_objects_are_left_alone(make):
    net = Holder(make())
    held = net.held
    with preserved(net):
        if hasattr(held, "__dict__"):
            held.note = "written by a thread of its own"
    assert net.held is held
    assert getattr(held, "note", None) == ("written by a thread of its own" if hasattr(held, "__dict__") else None)


def test_a_tensor_beyond_the_limit_is_left_alone_and_named(monkeypatch):
    monkeypatch.setattr(attributes, "_MOST_VALUES", 10)
    net = Holder([torch.zeros(8), torch.zeros(4)])
    with preserved(net):
        net.held[0].add_(1)
    assert net.held[0].sum() == 0
    with (
        pytest.warns(
            UserWarning, match=r"shape \(4,\) in `Holder.held`, which is too large .* Register it as a buffer"
        ),
        preserved(net),
    ):
        net.held[1].add_(1)
    assert net.held[1].sum() == 4


# Parameters.


class Prototypes(ConvNet):
    """Moves one of its parameters in every forward."""

    def __init__(self):
        super().__init__()
        self.prototypes = nn.Parameter(torch.zeros(3), requires_grad=False)

    def forward(self, x):
        self.prototypes.data.add_(1)
        return super().forward(x)


def test_parameters_that_forward_writes_are_put_back_and_only_these_are_copied_from_then_on(monkeypatch):
    net, copied = Prototypes(), []

    class Noting(tensors.TensorValues):
        def __init__(self, noted, device=None):
            copied.extend([len(noted)] if all(isinstance(one, nn.Parameter) for one in noted) and noted else [])
            super().__init__(noted, device)

    monkeypatch.setattr(tensors, "TensorValues", Noting)
    for _ in range(3):
        GradCAM()(net, IMAGES, 0)
        assert net.prototypes.tolist() == [0, 0, 0]
    net(IMAGES)
    assert net.prototypes.tolist() == [1, 1, 1]  # control
    assert copied == [len(list(net.parameters())), 1, 1]
    with preserved(net):
        net.prototypes.data = torch.ones(5)
    assert net.prototypes.tolist() == [1, 1, 1]


class Teacher(ConvNet):
    """Moves the weights of a network that is no child of it."""

    def __init__(self):
        super().__init__()
        self.teachers = {"slow": [nn.Linear(2, 2)], "owner": (self,)}

    def forward(self, x):
        self.teachers["slow"][0].weight.data.add_(1)
        return super().forward(x)


def test_parameters_of_a_module_that_hides_in_a_list_are_put_back():
    net = Teacher()
    weight = net.teachers["slow"][0].weight
    before = weight.tolist()
    for _ in range(2):
        GradCAM()(net, IMAGES, 0)
        assert weight.tolist() == before
    net(IMAGES)
    assert weight.tolist() != before  # control


def test_as_long_as_the_model_has_not_run_nothing_is_known_of_its_parameters():
    net = Prototypes()
    with preserved(net):
        pass
    GradCAM()(net, IMAGES, 0)
    assert net.prototypes.tolist() == [0, 0, 0]


def test_parameters_and_children_come_and_go():
    net = ConvNet()
    names, weight = [name for name, _ in net.named_parameters()], net.fc.weight
    with preserved(net):
        net.append(nn.Linear(2, 2))
        net.fc.register_parameter("extra", nn.Parameter(torch.ones(1)))
        net.fc.weight = nn.Parameter(torch.ones(1))
        del net.pool
        del net.features[0].bias
    assert [name for name, _ in net.named_parameters()] == names
    assert net.fc.weight is weight
    assert list(dict(net.named_children())) == ["features", "pool", "flatten", "dropout", "fc"]


def test_optimizers_that_step_in_the_backward_pass_do_not_step():
    net, steps = ConvNet(), []
    net.fc.weight.register_post_accumulate_grad_hook(lambda _: steps.append("accumulated"))
    net.fc.weight.register_hook(lambda _: steps.append("gradient"))
    with preserved(net):
        net(IMAGES).sum().backward()
    assert steps == []
    net(IMAGES).sum().backward()
    assert steps == ["gradient", "accumulated"]  # control


# Each piece on its own.


class Resizing(ConvNet):
    def __init__(self):
        super().__init__()
        self.register_buffer("low", torch.empty(0))
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x):
        self.low.resize_(len(x)).fill_(2)
        self.calls.add_(1)
        return super().forward(x)


def test_a_buffer_that_forward_resizes_is_put_back_and_so_are_the_others():
    net = Resizing()
    GradCAM()(net, IMAGES, 0)
    assert (net.low.shape, net.calls.item()) == ((0,), 0)
    net(IMAGES)
    assert (net.low.shape, net.calls.item()) == ((4,), 1)  # control


@pytest.mark.parametrize(
    "kind",
    [
        partial(PerChannelMinMaxObserver, ch_axis=1),
        HistogramObserver,
        partial(MovingAveragePerChannelMinMaxObserver, ch_axis=1),
    ],
)
def test_observers_of_quantisation_keep_what_they_have_seen(kind):
    net = ConvNet()
    net.features[2] = nn.Sequential(nn.ReLU(), kind())
    observer = net.features[2][1]
    before = {name: (b.shape, b.tolist()) for name, b in observer.named_buffers()}
    GradCAM()(net, IMAGES, 0)
    assert {name: (b.shape, b.tolist()) for name, b in observer.named_buffers()} == before
    net(IMAGES)
    assert {name: (b.shape, b.tolist()) for name, b in observer.named_buffers()} != before  # control


class Stuck(list):
    """Cannot be put back."""

    def clear(self):
        raise RuntimeError("stuck")


def test_what_cannot_be_put_back_keeps_nothing_else_from_it():
    net = nn.Sequential(Holder(Stuck([1])), Holder([1]), nn.BatchNorm1d(2)).train()
    state = torch.get_rng_state()
    with pytest.raises(RuntimeError, match="stuck"), preserved(net):
        _ = [holder.held.append(2) for holder in net[:2]], net[2].running_mean.add_(1), torch.rand(1)
    assert (net[0].held, net[1].held, net[2].running_mean.tolist()) == ([1, 2], [1], [0, 0])
    assert net.training
    assert torch.equal(torch.get_rng_state(), state)


def test_an_error_of_the_body_is_the_first():
    net = Holder(Stuck([1]))
    not_all = pytest.warns(UserWarning, match="not all of the model could be put back: stuck")
    with not_all, pytest.raises(KeyError), preserved(net):
        _ = net.held.append(2), {}["body"]
    assert net.training


def test_restore_each_raises_the_first_error_after_all_have_run():
    done = []
    with pytest.raises(ZeroDivisionError):
        restore_each([lambda: done.append(1), lambda: 1 / 0, lambda: done.append(2), lambda: {}["later"]])
    assert done == [1, 2]


# Hooks of others.


def from_package(hook, package):
    hook.__module__ = f"{package}.watch"
    return hook


@pytest.mark.parametrize("package", ["wandb", "comet_ml", "neptune_pytorch", "swanlab"])
def test_hooks_of_known_loggers_do_not_run(package):
    net, calls = ConvNet(), []
    net.pool.register_forward_hook(from_package(lambda *_: calls.append(1), package))
    net.fc.register_forward_pre_hook(from_package(lambda *_: calls.append(2), package))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        GradCAM()(net, IMAGES, 0)
    assert calls == []
    net(IMAGES)
    assert calls == [1, 2]


def count(module, args, output):
    pass


class Counts:
    def __call__(self, module, args, output):
        pass

    def add(self, module, args, output):
        pass


@pytest.mark.parametrize(
    ("hook", "name"),
    [(count, "count"), (Counts(), "Counts"), (partial(count), "count"), (Counts().add, "Counts.add")],
    ids=["function", "object", "partial", "method"],
)
def test_a_hook_of_the_users_own_is_named_once_per_model(hook, name):
    for _ in range(2):
        net = ConvNet()
        net.features[0].register_forward_hook(hook)
        with pytest.warns(
            UserWarning, match=rf"^The forward hook `{name}` on layer 'features.0' also runs .* put back"
        ):
            GradCAM()(net, IMAGES, 0)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            GradCAM()(net, IMAGES, 0)


class WithOwnHook(ConvNet):
    def __init__(self):
        super().__init__()
        self.calls = 0
        self.pool.register_forward_hook(self.note)

    def note(self, *_):
        self.calls += 1


@pytest.mark.parametrize(
    "make",
    [
        ConvNet,
        WithOwnHook,
        lambda: nn.Sequential(nn.utils.spectral_norm(nn.Conv2d(3, 2, 1)), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
    ],
    ids=["none", "of the model", "of torch"],
)
def test_of_hooks_that_leave_nothing_behind_nothing_is_said(make):
    net = make()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Classifier(net).logits(IMAGES)
    assert getattr(net, "calls", 0) == 0


def test_a_hook_on_all_modules_is_named():
    handle = nn.modules.module.register_module_forward_hook(count)
    try:
        with pytest.warns(UserWarning, match="The forward hook `count` on all modules also runs"):
            Classifier(ConvNet()).logits(IMAGES)
    finally:
        handle.remove()


# Other kinds of models.


class Scripted(nn.Module):
    calls: int
    rows: list[torch.Tensor]

    def __init__(self):
        super().__init__()
        self.calls, self.centre, self.rows = 0, torch.zeros(2), [torch.zeros(1)]
        self.register_buffer("seen", torch.zeros(1))

    def forward(self, x):
        self.calls += 1
        self.centre.add_(1)
        self.seen.add_(1)
        self.rows[0].add_(1)
        self.rows.append(x)
        return x.mean((2, 3))[:, :2] * self.calls


@pytest.mark.filterwarnings(
    "ignore:.*torch.jit.script.*:FutureWarning", "ignore:.*torch.jit.script.*:DeprecationWarning"
)
def test_attributes_of_scripted_modules_are_put_back():
    def state():
        inner = net[0]
        return inner.calls, inner.centre.tolist(), inner.seen.tolist(), [row.tolist() for row in inner.rows]

    net = nn.Sequential(torch.jit.script(Scripted()))
    expected = (0, [0, 0], [0], [[0]])
    assert state() == expected
    Classifier(net).logits(IMAGES)
    assert state() == expected
    net(IMAGES)
    assert state() != expected  # control


@pytest.fixture
def _one_process(tmp_path):
    distributed.init_process_group(
        "gloo", store=distributed.FileStore(str(tmp_path / "store"), 1), rank=0, world_size=1
    )
    yield
    distributed.destroy_process_group()


def sharded(net):
    fsdp = pytest.importorskip("torch.distributed.fsdp", reason="of torch 2.6")
    if not hasattr(fsdp, "fully_shard"):
        pytest.skip("of torch 2.6")
    mesh = distributed.device_mesh.init_device_mesh("cpu", (1,))
    fsdp.fully_shard(net.fc, mesh=mesh)
    return fsdp.fully_shard(net, mesh=mesh)


@pytest.mark.usefixtures("_one_process")
@pytest.mark.parametrize("wrap", [nn.parallel.DistributedDataParallel, sharded], ids=["DDP", "FSDP2"])
def test_wrapped_models_train_on_as_without(wrap):
    """Explained between the backward pass and the step."""
    plain, net = ConvNet().eval(), ConvNet().eval()
    net.load_state_dict(plain.state_dict())
    for model in (plain, wrap(net)):
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(3):
            model(IMAGES).pow(2).sum().backward()
            if model is not plain:
                Saliency()(model, IMAGES, 0)
            optimizer.step()
            optimizer.zero_grad()
    full = [getattr(parameter, "full_tensor", lambda p=parameter: p)() for parameter in net.parameters()]
    assert all(torch.equal(*pair) for pair in zip(full, plain.parameters(), strict=True))


@pytest.mark.cuda
def test_state_on_cuda_is_put_back():
    net = Prototypes().cuda()
    net.draw, net.rows = torch.Generator("cuda").manual_seed(0), [torch.zeros(2, device="cuda")]
    state = net.draw.get_state()
    for _ in range(2):
        with preserved(net):
            Classifier(net).logits(IMAGES.cuda())
            torch.rand(1, generator=net.draw, device="cuda")
            net.rows[0].add_(1)
            assert net.prototypes.tolist() == [1, 1, 1]
        assert (net.prototypes.tolist(), net.rows[0].tolist()) == ([0, 0, 0], [0, 0])
        assert torch.equal(net.draw.get_state(), state)
