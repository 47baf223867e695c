"""Data randomisation and input invariance, on networks whose answer is known."""

import pytest
import torch
from torch import nn

from lightning_xai import Comparison, FakeCAM, InputXGradient, Saliency, Sample
from lightning_xai.comparison import data_randomization, input_invariance
from tests.comparison._made import IMAGES, AsIs, Broken, Counted, TopLeft, marked_images
from tests.comparison.statistics.test_agreement import ByWeights, Weighted


def only(records, **where):
    (found,) = records.where(**where)
    return found


class TestDataRandomization:
    def checked(self, **options):
        weights = {"real": [1.0, 1.0, 1.0, 1.0], "again": [2.0, 1.5, 2.0, 2.0], "random": [-1.0, -1.0, -1.0, -1.0]}
        models = {name: Weighted(values) for name, values in weights.items()}
        table = Comparison(models, {"d": marked_images()}, {"w": ByWeights(), "a": AsIs()}, TopLeft()).run()
        return data_randomization(table, "real", "random", **options)

    def test_by_the_threshold(self):
        found = self.checked()
        depends = only(found, explainer="w")
        assert (depends["agreement"], depends["high"]) == pytest.approx((-1.0, -1.0))
        assert (depends["verdict"], depends["images"], depends["data"]) == ("passes", 4, "d")
        for name in ("a", "fake_cam"):  # they look at no model
            one = only(found, explainer=name)
            assert one["agreement"] == pytest.approx(1.0)
            assert one["verdict"] == "fails"
        assert only(self.checked(threshold=-0.99), explainer="w")["verdict"] == "passes"

    def test_beside_a_retrained_model(self):
        found = self.checked(retrained="again")
        depends = only(found, explainer="w")
        assert depends["retrained"] > 0.9
        assert depends["difference"] == pytest.approx(depends["retrained"] - depends["agreement"])
        assert depends["difference_low"] > 0
        assert depends["verdict"] == "passes"
        same = only(found, explainer="a")
        assert (same["difference"], same["difference_high"], same["verdict"]) == (0.0, 0.0, "fails")

    def test_one_image_decides_nothing(self):
        models = {"real": Weighted([1.0] * 4), "random": Weighted([-1.0] * 4)}
        table = Comparison(models, Sample(IMAGES[:1], torch.tensor([0])), ByWeights(), TopLeft()).run()
        assert only(data_randomization(table, "real", "random"), explainer="by_weights")["verdict"] == "undecided"

    def test_what_is_refused(self):
        table = Comparison({"m": Counted(), "n": Counted()}, {"d": marked_images()}, AsIs(), TopLeft()).run()
        with pytest.raises(ValueError, match=r"^Expected `randomized` to be one of 'm', 'n', but got 'o'"):
            data_randomization(table, "m", "o")
        with pytest.raises(ValueError, match=r"^Expected `model`, `randomized` and `retrained` to differ, but got m"):
            data_randomization(table, "m", "m")
        with pytest.raises(ValueError, match=r"^Expected `threshold` to lie between -1 and 1, but got 2"):
            data_randomization(table, "m", "n", threshold=2)


class Bent(nn.Sequential):
    """Two linear layers with a bend between them."""

    def __init__(self):
        torch.manual_seed(0)
        super().__init__(nn.Flatten(), nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 4))


class TestInputInvariance:
    def checked(self, net, explainers, images=IMAGES, **options):
        table = Comparison(net, {"d": Sample(images, torch.arange(4))}, explainers, TopLeft()).run()
        return input_invariance(table, **options)

    def test_the_gradient_is_and_times_the_input_is_not(self):
        net, shift = Bent(), -3.0
        found = self.checked(net, [Saliency(), InputXGradient()], shift=shift)
        passed, failed = (only(found, explainer=name) for name in ("saliency", "input_x_gradient"))
        assert passed["distance"] < 1e-5
        assert (passed["verdict"], passed["images"]) == ("passes", 4)
        assert passed["agreement"] == pytest.approx(1.0)
        given = IMAGES.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(net(given)[range(4), range(4)].sum(), given)
        a, b = ((gradient * values).flatten(1) for values in (IMAGES, IMAGES + shift))
        distances = 2 * (a - b).norm(dim=1) / (a.norm(dim=1) + b.norm(dim=1))
        assert failed["distance"] == pytest.approx(distances.mean().item(), rel=1e-4)
        assert failed["error"] == pytest.approx(distances.std().item() / 2, rel=1e-4)
        assert failed["verdict"] == "fails"

    def test_what_looks_at_the_image_alone(self):
        found = self.checked(Bent(), {"a": AsIs(), "fake": FakeCAM()})
        assert [row["explainer"] for row in found] == ["a"]  # controls are left out
        a, b = IMAGES.flatten(1), (IMAGES - 6.0).flatten(1)  # values are 0 to 6
        distances = 2 * (a - b).norm(dim=1) / (a.norm(dim=1) + b.norm(dim=1))
        assert found[0]["distance"] == pytest.approx(distances.mean().item(), rel=1e-5)
        assert found[0]["agreement"] == pytest.approx(1.0)

    def test_convolutions_with_a_border_and_several_channels(self):
        torch.manual_seed(0)
        net = nn.Sequential(
            nn.Conv2d(2, 6, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(6, 4, 3, padding=1),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )
        found = self.checked(
            net, ["saliency", "input_x_gradient", "layer_cam", "lrp"], torch.rand(4, 2, 8, 8), shift=[1.0, -2.0]
        )
        verdicts = {row["explainer"]: row["verdict"] for row in found}
        assert verdicts == {"saliency": "passes", "input_x_gradient": "fails", "layer_cam": "passes", "lrp": "fails"}

    def test_an_explainer_that_fails_for_the_twin(self):
        class NotBelowZero(AsIs):
            def explain(self, classifier, images, target):
                if bool((images < 0).any()):
                    raise RuntimeError("negative images")
                return super().explain(classifier, images, target)

        found = self.checked(Bent(), {"n": NotBelowZero(), "x": Broken(), "s": Saliency()})
        assert [row["explainer"] for row in found] == ["n", "s"]
        assert found[0]["verdict"] == "RuntimeError: negative images"
        assert found[1]["verdict"] == "passes"

    @pytest.mark.parametrize("shift", [0.0, [1.0, 2.0], float("nan")])
    def test_what_is_refused(self, shift):
        with pytest.raises(ValueError, match=r"^Expected `shift` to be one number, or one for each of 1 channels"):
            self.checked(Bent(), AsIs(), shift=shift)
        with pytest.raises(ValueError, match=r"^Expected `tolerance` to be > 0"):
            self.checked(Bent(), AsIs(), tolerance=0.0)

    def test_the_model_stays_as_it_was(self):
        net = Bent().train()
        before = {name: value.clone() for name, value in net.state_dict().items()}
        self.checked(net, "saliency")
        assert net.training
        assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
