"""Quantized layers are named as what they are, not as something that the user detached."""

import warnings

import pytest
import torch
from torch import nn

from lightning_xai import get_explainer
from lightning_xai.model.backward.no_gradient import no_gradient_because

IMAGES, TARGET = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1])
ENGINES = [engine for engine in torch.backends.quantized.supported_engines if engine != "none"]

pytestmark = [
    pytest.mark.skipif(not ENGINES, reason="this torch computes nothing in integers"),
    pytest.mark.filterwarnings("ignore:.*deprecated", "ignore:.*quant"),
]


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.quant, self.dequant = torch.ao.quantization.QuantStub(), torch.ao.quantization.DeQuantStub()
        self.features = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU())
        self.head = nn.Linear(4, 3)

    def forward(self, images):
        return self.head(self.dequant(self.features(self.quant(images))).mean((2, 3)))


@pytest.fixture(autouse=True)
def _engine():
    before = torch.backends.quantized.engine
    torch.backends.quantized.engine = ENGINES[0]
    yield
    torch.backends.quantized.engine = before


def dynamic():
    return torch.ao.quantization.quantize_dynamic(Net().eval(), {nn.Linear})


def static():
    net = Net().eval()
    net.qconfig = torch.ao.quantization.get_default_qconfig(ENGINES[0])
    net.head.qconfig = None
    torch.ao.quantization.prepare(net, inplace=True)
    net(IMAGES)
    return torch.ao.quantization.convert(net, inplace=True)


def both():
    return torch.ao.quantization.quantize_dynamic(static(), {nn.Linear})


@pytest.mark.parametrize(
    ("make", "explainer", "said"),
    [
        (dynamic, "saliency", r"reaches the input: quantized layers have none \(`head`, DynamicQuantizedLinear\)"),
        (dynamic, "smooth_grad", r"quantized layers have none \(`head`"),
        (dynamic, "grad_cam", r"reaches it: quantized layers have none \(`head`, DynamicQuantizedLinear\)\. Explain"),
        (static, "saliency", r"quantized layers have none \(`features\.0`, QuantizedConv2d\)"),
        (both, "saliency", r"quantized layers have none \(`features\.0`, QuantizedConv2d and 1 more\)"),
    ],
)
def test_quantized_layers_are_named(make, explainer, said):
    with pytest.raises(RuntimeError, match=said) as raised:
        get_explainer(explainer)(make(), IMAGES, TARGET)
    assert "detach" not in str(raised.value)


@pytest.mark.parametrize("explainer", ["occlusion", "score_cam"])
@pytest.mark.parametrize("make", [dynamic, static])
def test_what_the_message_proposes_works(make, explainer):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        heatmaps = get_explainer(explainer)(make(), IMAGES, TARGET)
    assert float(heatmaps.std()) > 0


def test_layers_that_are_ready_to_be_quantized_are_not_to_blame():
    net = Net().train()
    net.qconfig = torch.ao.quantization.get_default_qat_qconfig(ENGINES[0])
    prepared = torch.ao.quantization.prepare_qat(net)
    assert no_gradient_because(prepared, "detached") == "detached"
    assert float(get_explainer("saliency")(prepared, IMAGES, TARGET).std()) > 0
