import weakref

import lightning as L
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lightning_xai import Classifier, Readout
from lightning_xai.explainers import GradCAM
from tests._nets import ConvNet, differences, images_through, state_of

IMAGES = torch.randn(7, 3, 8, 8, generator=torch.Generator().manual_seed(1))


class Returning(nn.Module):
    """A network whose output is changed on the way out."""

    def __init__(self, change, classes=4):
        super().__init__()
        self.net = ConvNet(classes=classes)
        self.change = change

    def forward(self, x):
        return self.change(self.net(x))


@pytest.mark.parametrize("classes", [1, 2, 4])
@pytest.mark.parametrize("shape", ["all", "space"])
def test_a_model_that_squeezes_gives_the_logits_of_a_single_image_too(classes, shape):
    net = Returning(lambda z: z[:, :, None, None].squeeze() if shape == "all" else z[:, :, None].squeeze(-1), classes)
    plain = Returning(lambda z: z, classes)
    plain.load_state_dict(net.state_dict())
    for images in (IMAGES, IMAGES[:1]):
        torch.testing.assert_close(Classifier(net).logits(images), Classifier(plain).logits(images))
        classifier = Classifier(net, chunk_size=3)  # the last chunk of seven is a single image
        torch.testing.assert_close(classifier.logits(images), Classifier(plain).logits(images))
        torch.testing.assert_close(GradCAM()(net, images, 0), GradCAM()(plain, images, 0))


def test_rows_of_other_images_are_no_squeezed_logits():
    with pytest.raises(ValueError, match="one row of logits per image"):
        Classifier(Returning(lambda z: z.T)).logits(IMAGES[:1])


class Steps(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = ConvNet()
        self.seen = []

    def validation_step(self, batch):
        self.seen.append(self.net(batch[0]).float())

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.fixture
def net():
    return ConvNet().train()


@pytest.fixture
def expected(net):
    net.eval()
    with torch.no_grad():
        logits = net(IMAGES)
    net.train()
    return logits


class TestLogits:
    def test_they_are_the_models_own_in_eval_mode(self, net, expected):
        before = state_of(net)
        logits = Classifier(net).logits(IMAGES)
        assert torch.equal(logits, expected)
        assert not logits.requires_grad
        assert differences(before, state_of(net)) == []

    @pytest.mark.parametrize("outside", [torch.no_grad, torch.inference_mode, torch.enable_grad])
    def test_in_any_mode(self, net, expected, outside):
        with outside():
            assert torch.equal(Classifier(net).logits(IMAGES.clone()), expected)

    @pytest.mark.parametrize("chunk_size", [1, 2, 3, 7, 100])
    def test_chunks_change_nothing_and_are_counted(self, net, expected, chunk_size):
        classifier = Classifier(net, Readout(chunk_size=chunk_size))
        sizes = []
        handle = net.register_forward_pre_hook(lambda _, args: sizes.append(len(args[0])))
        torch.testing.assert_close(classifier.logits(IMAGES), expected, rtol=1e-5, atol=1e-6)
        handle.remove()
        assert sizes == [chunk_size] * (7 // chunk_size) + [7 % chunk_size] * (7 % chunk_size > 0)
        assert classifier.evaluations == sum(sizes) == 7

    def test_the_readouts_chunk_goes_first_and_of_keeps_a_classifier(self, net):
        assert Classifier(net, Readout(chunk_size=5), chunk_size=3).chunk_size == 5
        assert Classifier(net, chunk_size=3).chunk_size == 3
        classifier = Classifier(net)
        assert Classifier.of(classifier, torch.zeros(9, 3, 8, 8)) is classifier
        assert Classifier.of(net, torch.zeros(9, 3, 8, 8)).chunk_size == 32
        assert Classifier.of(net, torch.zeros(9, 3, 224, 224)).chunk_size == 8
        assert Classifier.of(net, torch.zeros(9, 3, 8, 8, device="meta")).chunk_size == 9

    def test_models_that_change_their_input_do_not_change_the_users(self):
        net = nn.Sequential(nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(192, 3))
        images = IMAGES.clone()
        with torch.no_grad():
            expected = net(IMAGES.clone())
        assert torch.equal(Classifier(net).logits(images), expected)
        assert torch.equal(images, IMAGES)

    @pytest.mark.parametrize("wrap", ["data_parallel", "torch.compile", "module.compile", "steps", "named"])
    def test_wrapped_models(self, net, expected, wrap):
        readout = None
        if wrap == "data_parallel":
            model = nn.DataParallel(net)
        elif wrap == "torch.compile":
            model = torch.compile(net, backend="eager")
        elif wrap == "module.compile":
            model = net
            model.compile(backend="eager")
        else:
            model = Steps()
            model.net = net
            if wrap == "named":
                model.other, readout = ConvNet(), Readout(forward="net")
        assert torch.equal(Classifier(model, readout).logits(IMAGES), expected)

    @pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")
    def test_torchscript(self, net, expected):
        traced = torch.jit.trace(net.eval(), IMAGES)
        torch.testing.assert_close(Classifier(traced).logits(IMAGES), expected)

    @pytest.mark.parametrize(
        ("change", "chosen"),
        [
            (lambda z: (z + 1, z), 1),
            (lambda z: {"logits": z, "features": z + 1}, None),
            (lambda z: {"out": z}, "out"),
            (lambda z: z[:, :, None, None], None),
            (lambda z: {"a": [z]}, lambda output: output["a"][0]),
        ],
    )
    def test_outputs(self, expected, net, change, chosen):
        model = Returning(change)
        model.net = net
        assert torch.equal(Classifier(model, Readout(logits_from_output=chosen)).logits(IMAGES), expected)

    def test_one_row_per_image_is_required(self):
        model = Returning(lambda z: z.flatten()[:6])
        with pytest.raises(ValueError, match=r"one row of logits per image \(7\), but got \(6, 1\)"):
            Classifier(model).logits(IMAGES)


class TestTasks:
    @pytest.mark.parametrize("change", [lambda z: z, lambda z: z[:, 0], lambda z: z.squeeze(), lambda z: z[..., None]])
    @pytest.mark.parametrize("count", [1, 3])
    def test_a_single_logit_is_binary_and_class_0_is_its_negative(self, change, count):
        model = Returning(change, classes=1).eval()
        classifier = Classifier(model)
        assert classifier.task == "auto"
        logits = classifier.logits(IMAGES[:count])
        assert classifier.task == "binary"
        z = model.net(IMAGES[:count])[:, 0]
        torch.testing.assert_close(logits, torch.stack([-z, z], 1).detach())
        probabilities = classifier.probabilities(logits)
        torch.testing.assert_close(probabilities[:, 1], torch.sigmoid(z).detach())
        torch.testing.assert_close(probabilities.sum(1), torch.ones(count))

    def test_multiclass_probabilities_are_softmax(self, net, expected):
        classifier = Classifier(net)
        logits = classifier.logits(IMAGES)
        assert classifier.task == "multiclass"
        assert torch.equal(classifier.probabilities(logits), F.softmax(expected, 1))

    @pytest.mark.parametrize("classes", [1, 4])
    def test_multilabel_probabilities_are_sigmoids(self, classes):
        net = ConvNet(classes=classes)
        classifier = Classifier(net, Readout("multilabel"))
        logits = classifier.logits(IMAGES)
        assert logits.shape == (7, classes)
        assert torch.equal(classifier.probabilities(logits), torch.sigmoid(logits))

    def test_scores_of_the_target(self, net, expected):
        classifier = Classifier(net)
        target = torch.tensor([0, 1, 2, 3, 3, 2, 1])
        logits = classifier.logits(IMAGES)
        rows = torch.arange(7)
        assert torch.equal(classifier.select(logits, target), expected[rows, target])
        assert torch.equal(classifier.select(logits, target, "probability"), expected.softmax(1)[rows, target])

    @pytest.mark.parametrize(
        ("classes", "task", "message"),
        [
            (4, "binary", "Expected one logit per image for task='binary', but the model returned 4. Set `Readout"),
            (1, "multiclass", "Expected two or more logits per image for task='multiclass', but the model returned 1"),
        ],
    )
    def test_a_wrong_task_is_said(self, classes, task, message):
        with pytest.raises(ValueError, match=message):
            Classifier(ConvNet(classes=classes), Readout(task)).logits(IMAGES)

    @pytest.mark.parametrize(("classes", "last"), [(4, 3), (1, 1)])
    def test_a_target_out_of_range_is_said(self, classes, last):
        classifier = Classifier(ConvNet(classes=classes))
        with pytest.raises(ValueError, match=rf"class in \[0, {last}\], the model's {last + 1} classes, but got 7"):
            classifier.select(classifier.logits(IMAGES[:2]), torch.tensor([0, 7]))


class TestPrecision:
    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
    def test_images_are_converted_to_the_dtype_of_the_parameters(self, net, dtype):
        net = net.to(dtype).eval()
        logits = Classifier(net).logits(IMAGES)
        assert logits.dtype == torch.float32
        assert torch.equal(logits, net(IMAGES.to(dtype)).detach().float())

    @pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "bf16-true", "64-true"])
    def test_the_logits_of_a_validation_step_bit_for_bit(self, precision):
        module, batch = Steps(), IMAGES.clone()
        loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(batch), batch_size=7)
        trainer = L.Trainer(
            accelerator="cpu",
            precision=precision,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.validate(module, loader, verbose=False)
        (seen,) = module.seen
        logits = Classifier(module, precision=trainer.precision_plugin).logits(batch)
        assert logits.dtype == torch.float32
        assert torch.equal(logits, seen)
        heatmaps = GradCAM()(Classifier(module, precision=trainer.precision_plugin), batch, target=1)
        assert heatmaps.dtype == torch.float32
        plain = GradCAM()(module.float(), batch, target=1)
        torch.testing.assert_close(heatmaps, plain, atol=0.05 * float(plain.max()), rtol=0)
        if precision == "bf16-mixed":  # control: without the plugin the forward is another one
            assert not torch.equal(Classifier(module).logits(batch), seen)


class TestEvaluate:
    def test_no_more_than_a_chunk_exists_at_once(self, net):
        alive, most = [], []

        def build(chunk):
            frames = IMAGES[:1].repeat(chunk.stop - chunk.start, 1, 1, 1)
            alive.append(weakref.ref(frames))
            most.append(sum(frames() is not None for frames in alive))
            return frames

        result = Classifier(net, chunk_size=4).evaluate(1000, build, lambda logits, chunk: logits[:, 0] + chunk.start)
        assert result.shape == (1000,)
        torch.testing.assert_close(result.view(250, 4) - result[:4], torch.arange(0, 1000, 4.0)[:, None].expand(-1, 4))
        assert len(alive) == 250
        assert max(most) == 1

    def test_frames_that_were_built_may_be_changed_by_the_model(self):
        net = nn.Sequential(nn.ReLU(inplace=True), nn.Flatten())
        built = []

        def build(chunk):
            built.append(-torch.ones(chunk.stop - chunk.start, 1, 1, 2))
            return built[-1]

        assert float(Classifier(net, chunk_size=2).evaluate(3, build).abs().sum()) == 0
        assert float(built[0].abs().sum()) == 0

    def test_evaluations_count_what_goes_through_the_model(self, net):
        classifier = Classifier(net, chunk_size=3)
        with images_through(net) as count:
            classifier.logits(IMAGES)
            classifier.logits(IMAGES[:2])
        assert classifier.evaluations == count[0] == 9


class TestErrors:
    def test_no_module(self):
        with pytest.raises(
            TypeError, match=r"Expected `model` to be a torch\.nn\.Module or a Classifier, but got function"
        ):
            Classifier(lambda x: x)

    def test_another_device(self):
        with pytest.raises(ValueError, match="Expected `model` on cpu like `images`, but got meta"):
            Classifier(ConvNet().to("meta")).logits(IMAGES)

    @pytest.mark.cuda
    def test_another_device_cuda(self):
        with pytest.raises(ValueError, match="Expected `model` on cpu like `images`, but got cuda:0"):
            Classifier(ConvNet().cuda()).logits(IMAGES)

    def test_no_forward(self):
        module = Steps()
        module.other = ConvNet()
        with pytest.raises(
            ValueError, match=r"Expected Steps to define `forward`.*children with parameters: net, other"
        ):
            Classifier(module)

    def test_unknown_forward(self):
        with pytest.raises(ValueError, match=r"Expected `forward` to be one of .* Did you mean 'features'"):
            Classifier(ConvNet(), Readout(forward="feature"))

    def test_no_logits(self):
        with pytest.raises(TypeError, match=r"got dict with keys \['scores'\]. Set `Readout\(logits_from_output"):
            Classifier(Returning(lambda z: {"scores": z})).logits(IMAGES)
