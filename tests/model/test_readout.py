import pickle

import pytest
from torch import nn

from lightning_xai import Readout
from lightning_xai.model.readout import layer_named, named_layers
from tests._nets import ConvNet


def test_settings_pickle_and_compare():
    readout = Readout("multilabel", "out", forward="net", chunk_size=8)
    assert pickle.loads(pickle.dumps(readout)) == readout != Readout()
    assert Readout() == Readout("auto", None, None, None)
    assert "precision='bf16'" in repr(Readout(precision="bf16"))
    assert pickle.loads(pickle.dumps(Readout(precision="bf16"))) == Readout(precision="bf16") != Readout()


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"task": "multi_class"}, ValueError, "Expected `task` to be one of 'auto', .* Did you mean 'multiclass'"),
        (
            {"precision": "bf-16"},
            ValueError,
            "Expected `precision` to be one of 'model', .* Did you mean 'bf16'",
        ),
        ({"precision": "fp16"}, ValueError, "Expected `precision` to be one of 'model', 'bf16', but got 'fp16'"),
        ({"precision": None}, ValueError, "Expected `precision` to be one of 'model', 'bf16', but got None"),
        ({"precision": 16}, ValueError, "Expected `precision` to be one of 'model', 'bf16', but got 16"),
        ({"chunk_size": 0}, ValueError, "Expected `chunk_size` to be >= 1, but got 0"),
        ({"chunk_size": 2.0}, TypeError, "Expected `chunk_size` to be a whole number, but got float"),
    ],
)
def test_errors(settings, error, message):
    with pytest.raises(error, match=message):
        Readout(**settings)


def test_a_layer_by_its_name_is_the_one_among_all_names():
    net = nn.Sequential(ConvNet(), ConvNet())
    net[1].compile()
    net.append(net[0].features)  # the same module again
    for name, module in named_layers(net).items():
        assert layer_named(net, name) is module
    with pytest.raises(KeyError, match="nowhere"):
        layer_named(net, "0.nowhere")


def test_a_layer_below_a_compiled_module_by_its_name_in_the_plain_one():
    class Compiled(nn.Module):
        """What `torch.compile` returns holds the module as `_orig_mod`."""

        def __init__(self, module):
            super().__init__()
            self._orig_mod = module

    net = nn.Sequential(Compiled(ConvNet()))
    assert layer_named(net, "0.features.0") is net[0]._orig_mod.features[0]
