import hashlib
import random

import numpy as np
import pytest
import torch
from torch import nn

from lightning_xai.model.randomized import layer_groups, randomized, redraw
from tests._nets import ConvNet, TinyViT, differences, state_of


def digest(model):
    """Return a hash of every bit of the state, the dtype and the layout."""
    found = hashlib.sha256()
    for name, tensor in [*model.state_dict().items(), *model.named_parameters(), *model.named_buffers()]:
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} {tensor.stride()} {tensor.data_ptr()}".encode())
        found.update(tensor.detach().flatten().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def trained(model):
    """Give every tensor a value that no reset gives."""
    with torch.no_grad():
        for tensor in [*model.parameters(), *model.buffers()]:
            if tensor.is_floating_point():
                tensor.uniform_(0.3, 0.9)
            else:
                tensor.fill_(7)
    return model


def changed(model, before):
    return [name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])]


def copies(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


class Bare(nn.Module):
    """Parameters of its own and no reset; a frozen one, a scalar, a constant and an integer among them."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(3.0 * torch.randn(50, 40) + 10.0)
        self.frozen = nn.Parameter(torch.randn(1000), requires_grad=False)
        self.scalar = nn.Parameter(torch.tensor(5.0))
        self.gamma = nn.Parameter(torch.full((1000,), 1e-3))
        self.zero = nn.Parameter(torch.zeros(4))
        self.steps = nn.Parameter(torch.tensor([3]), requires_grad=False)

    def forward(self, images):
        return images.flatten(1)[:, :40] @ self.weight.T


MODELS = {
    "conv": ConvNet,
    "vit": TinyViT,
    "bare": Bare,
    "bf16": lambda: ConvNet().bfloat16(),
    "channels_last": lambda: ConvNet().to(memory_format=torch.channels_last),
    "compiled": lambda: torch.compile(ConvNet()),
    "scripted": lambda: torch.jit.script(nn.Sequential(nn.Conv2d(3, 2, 3), nn.BatchNorm2d(2))),
    "weight_norm": lambda: nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(4, 3)), nn.Linear(3, 2)),
    "old_weight_norm": lambda: nn.Sequential(nn.utils.weight_norm(nn.Linear(4, 3)), nn.Linear(3, 2)),
    "lstm": lambda: nn.LSTM(3, 4),
    "no_statistics": lambda: nn.Sequential(nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2, track_running_stats=False)),
}
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*torch.jit.script.* is deprecated:FutureWarning"),
]


@pytest.mark.parametrize("order", ["top_down", "bottom_up", "independent"])
@pytest.mark.parametrize("kind", MODELS)
def test_everything_is_put_back_bit_for_bit(kind, order):
    model = trained(MODELS[kind]())
    model.train()
    before, state = digest(model), state_of(model)
    seen = set()
    with randomized(model, order) as steps:
        for _ in steps:
            seen.add(digest(model))
            for buffer in model.buffers():
                buffer.zero_()  # what a forward may do
    assert digest(model) == before
    assert differences(state, state_of(model)) == []
    assert before not in seen
    assert len(seen) == sum(1 for _ in layer_groups(model))  # every step is another model


def test_the_digest_sees_a_single_bit():
    model = ConvNet()
    before = digest(model)
    flat = model.fc.weight.data.view(-1).view(torch.int32)
    flat[0] ^= 1
    assert digest(model) != before
    flat[0] ^= 1
    assert digest(model) == before
    model.features[1].running_mean[0] = -0.0  # equal, but not the same bits
    assert digest(model) != before


def test_nan_and_negative_zero_are_put_back_too():
    model = ConvNet()
    with torch.no_grad():
        model.fc.weight[0, 0], model.fc.weight[0, 1] = torch.nan, -0.0
        model.features[1].running_var[0] = torch.inf
    before = digest(model)
    with randomized(model) as steps:
        assert all(model.fc.weight.isfinite().all() for _ in list(steps))
    assert digest(model) == before


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("at", ["before", "step", "between", "reset"])
def test_everything_is_put_back_after_an_error(error, at, monkeypatch):
    model = trained(ConvNet()).train()
    before, state = digest(model), state_of(model)
    calls = []

    def broken(self):
        calls.append(self)
        with torch.no_grad():
            self.weight.zero_()
        raise error

    if at == "reset":
        monkeypatch.setattr(nn.Conv2d, "reset_parameters", broken)
    with pytest.raises(error), randomized(model) as steps:  # noqa: PT012
        if at == "before":
            raise error
        for step in steps:
            if at == "step":
                assert digest(model) != before
                raise error
            if at == "between" and step == 2:
                break
        raise error
    assert bool(calls) == (at == "reset")
    assert digest(model) == before
    assert differences(state, state_of(model)) == []


def test_abandoned_steps_are_put_back():
    model = trained(ConvNet())
    before = digest(model)
    with randomized(model) as steps:
        next(steps)
        assert digest(model) != before
    assert digest(model) == before


def test_a_graph_that_the_user_keeps_survives():
    model = ConvNet().train()
    images = torch.rand(4, 3, 8, 8)
    expected = torch.autograd.grad(model.eval()(images).square().sum(), model.fc.weight)[0]
    loss = model(images).square().sum()
    with randomized(model) as steps:
        for _ in steps:
            model(images)
    assert torch.equal(torch.autograd.grad(loss, model.fc.weight)[0], expected)


def test_global_random_states_are_never_seen_to_move():
    model = trained(TinyViT())

    def states():
        return torch.get_rng_state().tolist(), np.random.get_state()[1].tolist(), random.getstate()

    before = states()
    with randomized(model) as steps:
        for _ in steps:
            assert states() == before
    assert states() == before


def test_order_of_the_steps():
    model = trained(ConvNet())
    before = copies(model)
    layers = ["features.0", "features.1", "features.4", "features.5", "fc"]

    def layers_changed():
        return [layer for layer in layers if any(name.startswith(f"{layer}.") for name in changed(model, before))]

    expected = {
        "top_down": [layers[4 - k :] for k in range(5)],
        "bottom_up": [layers[: k + 1] for k in range(5)],
        "independent": [[layer] for layer in layers],
    }
    for order, found in expected.items():
        with randomized(model, order) as steps:
            assert [layers_changed() for _ in steps] == found


@pytest.mark.parametrize(("num_steps", "sizes"), [(1, [5]), (2, [2, 3]), (3, [1, 2, 2]), (5, [1] * 5), (8, [1] * 5)])
def test_groups_are_equal_and_at_most_as_many_as_asked_for(num_steps, sizes):
    groups = layer_groups(ConvNet(), num_steps)
    assert [len(group) for group in groups] == sizes
    assert [place for group in groups for place, _ in group] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("kind", MODELS)
def test_no_parameter_keeps_its_values(kind):
    model = trained(MODELS[kind]())
    before = copies(model)
    integer = [name for name, tensor in before.items() if not tensor.is_floating_point() and "num_batches" not in name]
    with randomized(model, num_steps=1) as steps:
        next(steps)
        assert sorted({*before} - {*changed(model, before)}) == sorted(integer)


def test_layers_are_redrawn_as_they_were_made():
    torch.manual_seed(0)
    model = trained(
        nn.Sequential(nn.Linear(400, 300), nn.LayerNorm(5), nn.BatchNorm1d(3), nn.MultiheadAttention(64, 2))
    )
    with randomized(model) as steps:
        list(steps)
        bound = 1 / 20  # nn.Linear: U(−1/√in, 1/√in)
        assert model[0].weight.abs().max().item() == pytest.approx(bound, rel=1e-3)
        assert model[0].weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.01)
        assert model[1].weight.tolist() == [1.0] * 5
        assert model[1].bias.tolist() == [0.0] * 5
        assert model[2].running_mean.tolist() == [0.0] * 3
        assert model[2].running_var.tolist() == [1.0] * 3
        assert model[2].num_batches_tracked.item() == 0
        xavier = (6 / (64 + 192)) ** 0.5
        assert model[3].in_proj_weight.abs().max().item() == pytest.approx(xavier, rel=1e-2)
        assert model[3].in_proj_bias.tolist() == [0.0] * 192
        assert model[3].out_proj.weight.abs().max().item() == pytest.approx(1 / 8, rel=1e-2)  # as a linear layer


def test_parameters_without_a_reset_become_noise_of_their_own_spread():
    model = Bare()
    before = copies(model)
    with randomized(model) as steps:
        list(steps)
        assert model.weight.mean().item() == pytest.approx(0.0, abs=0.25)
        assert model.weight.std().item() == pytest.approx(before["weight"].std().item(), rel=0.1)
        assert model.frozen.std().item() == pytest.approx(1.0, rel=0.1)
        assert model.gamma.std().item() == pytest.approx(1e-3, rel=0.1)  # its spread is 0: the root mean square
        assert model.scalar.item() not in (0.0, 5.0)
        assert model.zero.tolist() == [0.0] * 4
        assert model.steps.tolist() == [3]
        assert not model.frozen.requires_grad


def test_frozen_normalization_without_parameters_is_reset():
    from torchvision.ops import FrozenBatchNorm2d

    model = trained(nn.Sequential(nn.Conv2d(3, 2, 1), FrozenBatchNorm2d(2)))
    before = digest(model)
    with randomized(model, "top_down") as steps:
        next(steps)
        assert model[1].weight.tolist() == model[1].running_var.tolist() == [1.0, 1.0]
        assert model[1].bias.tolist() == model[1].running_mean.tolist() == [0.0, 0.0]
    assert digest(model) == before


def test_a_shared_parameter_changes_with_every_group_that_holds_it():
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 3))
    model[2].weight = model[0].weight
    before = digest(model)
    first = model[0].weight.clone()
    with randomized(model, "independent") as steps:
        assert [torch.equal(model[0].weight, first) for _ in steps] == [False, True, False]
        assert model[2].weight is model[0].weight
    assert digest(model) == before


def test_a_parameter_with_other_users_is_redrawn_where_it_lies():
    model = nn.Sequential(nn.Linear(3, 3))
    alias, view, address = model[0].weight, model[0].weight.detach(), model[0].weight.data_ptr()
    with randomized(model) as steps:
        next(steps)
        assert model[0].weight is alias
        assert torch.equal(view, alias)
        assert model[0].weight.data_ptr() == address


def test_the_module_inside_ddp_is_taken():
    inner = nn.Linear(2, 2)
    wrapped = nn.DataParallel(inner)
    before = digest(inner)
    with randomized(wrapped) as steps:
        assert len(list(steps)) == 1
        assert digest(inner) != before
    assert digest(inner) == before


def _redrawn(model, **settings):
    with randomized(model, **settings) as steps:
        list(steps)
        return copies(model)


def test_the_seed_and_only_the_seed_decides():
    model = trained(ConvNet())
    expected = _redrawn(model)
    for settings in ({}, {"order": "bottom_up"}, {"num_steps": 1}, {"num_steps": 3}):
        torch.manual_seed(random.randrange(1000))
        assert changed(nn.Module(), {}) == []
        found = _redrawn(model, **settings)
        assert all(torch.equal(found[name], expected[name]) for name in expected)
    other = _redrawn(model, seed=1)
    assert not torch.equal(other["fc.weight"], expected["fc.weight"])


def test_layers_of_one_shape_get_different_numbers():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    found = _redrawn(model)
    assert not torch.equal(found["0.weight"], found["1.weight"])


@pytest.mark.cuda
def test_the_same_numbers_on_every_device():
    model = trained(nn.Sequential(ConvNet(), Bare()))
    expected = _redrawn(model)
    before = torch.cuda.get_rng_state().tolist()
    found = _redrawn(model.cuda())
    assert torch.cuda.get_rng_state().tolist() == before
    for name, tensor in expected.items():
        assert torch.equal(found[name].cpu(), tensor)


class Whole(nn.Module):
    """Reset everything below it, by assignment and in place, and only one of its own two parameters."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(3, 3)
        self.norm = nn.BatchNorm1d(3)
        self.own = nn.Parameter(torch.rand(3))
        self.other = nn.Parameter(torch.rand(3))
        self.cache = torch.rand(3)

    def reset_parameters(self):
        self.first.reset_parameters()
        self.norm.reset_parameters()
        self.own = nn.Parameter(torch.full((3,), 9.0))
        self.cache.zero_()


def test_a_reset_reaches_neither_children_nor_identities():
    model = trained(Whole())
    before, own, cache = copies(model), model.own, model.cache.clone()
    redraw(model)
    assert sorted(changed(model, before)) == ["other", "own"]
    assert model.own is own
    assert model.own.tolist() == [9.0] * 3
    assert torch.equal(model.cache, cache)
    assert model.other.abs().max() > 0


def test_a_reset_that_asks_for_arguments_is_none():
    class Asking(nn.Linear):
        def reset_parameters(self, gain=None, *args, **kwargs):
            nn.init.constant_(self.weight, 2.0)

    class Demanding(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.rand(100))

        def reset_parameters(self, gain):
            raise AssertionError

    model = nn.Sequential(Asking(2, 2, bias=False), Demanding())
    found = _redrawn(trained(model))
    assert found["0.weight"].tolist() == [[2.0] * 2] * 2
    assert found["1.weight"].abs().max() > 0


@pytest.mark.parametrize(
    ("model", "settings", "text"),
    [
        (nn.ReLU(), {}, "Expected `model` to have parameters to redraw, but ReLU has none"),
        (nn.Linear(2, 2), {"num_steps": 0}, "Expected `num_steps` to be >= 1, but got 0"),
        (
            nn.Linear(2, 2),
            {"order": "sideways"},
            "Expected `order` to be one of 'top_down', 'bottom_up', 'independent'",
        ),
    ],
)
def test_arguments_are_checked(model, settings, text):
    with pytest.raises(ValueError, match=text), randomized(model, **settings):
        pass


def test_a_reset_to_the_same_values_counts_as_one():
    model = nn.Sequential(nn.BatchNorm1d(3), nn.LayerNorm(3))
    found = _redrawn(model)
    assert found["0.weight"].tolist() == found["1.weight"].tolist() == [1.0] * 3


def test_one_parameter_under_two_names_is_drawn_once():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = self.second = nn.Parameter(torch.rand(3))

        def reset_parameters(self):
            nn.init.constant_(self.first, 2.0)

    model = Twice()
    redraw(model)
    assert model.first is model.second
    assert model.first.tolist() == [2.0] * 3


def test_the_model_is_in_eval_mode_meanwhile():
    model = ConvNet().train()
    with randomized(model) as steps:
        assert [any(module.training for module in model.modules()) for _ in steps] == [False] * 5
    assert all(module.training for module in model.modules())
