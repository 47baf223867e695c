"""The information bottleneck by value."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lightning_xai import Classifier, InformationBottleneck, Readout
from lightning_xai._randomness import normal
from lightning_xai.model.layer.forward_from_layer import ForwardFromLayer
from tests._nets import ConvNet, FlattenNet, ImagesConvolved
from tests.explainers.information import _naive

TARGET = torch.tensor([0, 2, 1])
DEFAULTS = {"beta": 10.0, "learning_rate": 1.0, "initial_alpha": 5.0, "blur": 1.0, "min_std": 0.01}


def data(count, seed=1, size=8):
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(seed))


def noise(size, steps, copies, seed=0):
    samples = torch.arange(steps * copies)
    return normal(torch.zeros_like(samples), size, seed=seed, sample=samples).view(steps, copies, *size).double()


@pytest.mark.parametrize(
    ("settings", "steps", "copies"),
    [({}, 10, 10), ({"beta": 0.1, "learning_rate": 0.3, "initial_alpha": 1.0, "blur": 0.0, "min_std": 2.0}, 4, 3)],
    ids=["defaults", "others"],
)
def test_equals_the_paper_written_naively(settings, steps, copies):
    net, images, references = FlattenNet(), data(3), data(20, seed=2)
    explainer = InformationBottleneck(references=references, num_steps=steps, num_copies=copies, seed=3, **settings)
    maps = explainer(Classifier(net, chunk_size=7), images, TARGET)
    double = copy.deepcopy(net).double()
    with torch.no_grad():
        features = double.conv(torch.cat([images, references]).double()).relu()
    for heatmap, own, target in zip(maps, features[:3], TARGET, strict=True):

        def surprise(z, target=target):
            return F.cross_entropy(double.fc(z.flatten()[None]), target[None])

        drawn = noise((5, 8, 8), steps, copies, seed=3)
        expected = _naive.heatmap(own, features[3:], surprise, drawn, **{**DEFAULTS, **settings})
        torch.testing.assert_close(heatmap.double(), expected, rtol=1e-3, atol=1e-4 * float(expected.max()))
    assert explainer.picked == ["the input of `flatten` (call 1)"]


@pytest.mark.parametrize("task", ["binary", "multilabel"])
def test_other_tasks_use_their_own_probability(task):
    net, images, references = FlattenNet(classes=1 if task == "binary" else 3), data(2), data(12, seed=2)
    target = torch.tensor([0, 1])
    explainer = InformationBottleneck(references=references, num_steps=5, num_copies=2)
    maps = explainer(Classifier(net, Readout(task)), images, target)
    double = copy.deepcopy(net).double()
    with torch.no_grad():
        features = double.conv(torch.cat([images, references]).double()).relu()
    for heatmap, own, label in zip(maps, features[:2], target.tolist(), strict=True):

        def surprise(z, label=label):
            logits = double.fc(z.flatten())
            if task == "binary":
                return F.binary_cross_entropy_with_logits(logits[0], torch.tensor(float(label)).double())
            return -F.logsigmoid(logits[label])

        expected = _naive.heatmap(own, features[2:], surprise, noise((5, 8, 8), 5, 2), **DEFAULTS)
        torch.testing.assert_close(heatmap.double(), expected, rtol=1e-3, atol=1e-4 * float(expected.max()))


class Corner(nn.Module):
    """The class is decided by the first pixel alone."""

    def __init__(self):
        super().__init__()
        self.features = nn.Identity()

    def forward(self, x):
        corner = self.features(x)[:, :, 0, 0].sum(1)
        return torch.stack([8 * corner, -8 * corner], 1)


def test_bits_are_where_the_class_is_decided():
    images, references = torch.ones(1, 1, 4, 4), torch.randn(64, 1, 4, 4)
    found = InformationBottleneck("features", references, blur=0.0, num_steps=40)(Corner(), images, 0)[0]
    assert float(found[0, 0]) > 0.3
    assert float(found.flatten()[1:].max()) < 0.005
    dear = InformationBottleneck("features", references, blur=0.0, num_steps=40, beta=1e4)(Corner(), images, 0)[0]
    assert float(dear.max()) < 0.005


def test_a_network_that_ignores_the_layer_needs_no_bits():
    net = ConvNet()
    nn.init.zeros_(net.fc.weight)
    found = InformationBottleneck(references=data(8, seed=2), num_steps=40)(net, data(2), 0)
    assert float(found.max()) < 0.02  # of 12 channels that held 5 bits each at first
    start = InformationBottleneck(references=data(8, seed=2), num_steps=1, learning_rate=1e-9)(net, data(2), 0)
    assert float(start.min()) > 20


def test_before_the_first_step_the_mask_lets_alpha_pass():
    """Bits of a known mask: λ = sigmoid(α) everywhere, whatever the blur."""
    net, images, references = FlattenNet(), data(2), data(30, seed=2)
    still = InformationBottleneck(references=references, num_steps=1, learning_rate=1e-9, initial_alpha=2.0)
    with torch.no_grad():
        features = net.conv(torch.cat([images, references])).relu()
    mean, std, active = _naive.spread(features[2:], 0.01)
    passing = torch.tensor(2.0).sigmoid()
    nats = _naive.information(features[:2], passing, mean, std)
    expected = torch.where(active, nats, 0.0).sum(1) / torch.tensor(2.0).log()
    torch.testing.assert_close(still(net, images, 0), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("chunk_size", [2, 5, 30])
def test_below_the_layer_each_image_and_reference_is_computed_once(chunk_size):
    net, explainer = ConvNet(), InformationBottleneck(references=data(7, seed=2), num_steps=3, num_copies=4)
    explainer(net, data(5), 1)  # finds the target layer
    classifier = Classifier(net, chunk_size=chunk_size)
    with ImagesConvolved(net.features[0]) as computed:
        explainer(classifier, data(5), 1)
    assert classifier.evaluations == 5 + 7 * -(-5 // chunk_size)
    assert computed.count == classifier.evaluations
    assert explainer.evaluations is None


@pytest.mark.parametrize(("chunk_size", "images", "most"), [(2, 5, 2), (7, 5, 5), (12, 5, 10), (30, 5, 20), (1, 2, 1)])
def test_the_head_runs_for_no_more_copies_than_a_chunk_holds(chunk_size, images, most):
    net, sizes = ConvNet(), []
    explainer = InformationBottleneck(references=data(7, seed=2), num_steps=2, num_copies=4)
    count = ForwardFromLayer.gradient

    def counted(head, maps, loss):
        sizes.append(len(maps) * maps.shape[1])
        return count(head, maps, loss)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ForwardFromLayer, "gradient", counted)
        explainer(Classifier(net, chunk_size=chunk_size), data(images), 1)
    assert max(sizes) == most
    assert sum(sizes) == images * 2 * 4


def test_a_backbone_without_gradients_is_no_obstacle():
    class Frozen(ConvNet):
        def forward(self, x):
            with torch.no_grad():
                x = self.features(x)
            return self.fc(self.pool(x).flatten(1))

    torch.manual_seed(2)
    plain, frozen = ConvNet(), Frozen()
    frozen.load_state_dict(plain.state_dict())
    for layer in ("features", "features.3"):
        explainer = InformationBottleneck(layer, data(6, seed=2))
        torch.testing.assert_close(explainer(frozen, data(2), 1), explainer(plain, data(2), 1))


def test_a_score_without_gradient_is_said():
    class Detached(FlattenNet):
        def forward(self, x):
            return self.fc(F.relu(self.conv(x)).detach().flatten(1))

    with pytest.raises(RuntimeError, match="no gradient reaches it: the model detaches it"):
        InformationBottleneck("conv", data(6, seed=2))(Detached(), data(2), 1)


def test_too_few_references_are_said():
    with pytest.raises(ValueError, match="Expected `references` to hold at least 2 images"):
        InformationBottleneck(references=data(1))(FlattenNet(), data(2), 1)
    with pytest.raises(ValueError, match=r"InformationBottleneck\(references=images\)"):
        InformationBottleneck()(FlattenNet(), data(2), 1)


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({"target_layer": 3}, TypeError, "`target_layer` to be 'auto', a name or a module"),
        ({"beta": -1}, ValueError, "`beta` to be >= 0.0"),
        ({"num_steps": 0}, ValueError, "`num_steps` to be >= 1"),
        ({"num_copies": 1.5}, TypeError, "`num_copies` to be a whole number"),
        ({"learning_rate": 0}, ValueError, "`learning_rate` to be > 0.0"),
        ({"initial_alpha": "5"}, TypeError, "`initial_alpha` to be a number"),
        ({"blur": -0.1}, ValueError, "`blur` to be >= 0.0"),
        ({"min_std": 0.0}, ValueError, "`min_std` to be > 0.0"),
        ({"seed": None}, TypeError, "`seed` to be a whole number"),
    ],
)
def test_wrong_settings_are_said(settings, error, words):
    with pytest.raises(error, match=f"Expected {words}"):
        InformationBottleneck(**settings)
