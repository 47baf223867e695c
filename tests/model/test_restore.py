"""What a LightningModule that logs and counts in its forward keeps, and what a Trainer sees."""

import lightning as L
import pytest
import torch
import torchmetrics
from torch import nn

from lightning_xai import Classifier, GradCAM, preserved
from tests._nets import ConvNet, differences, state_of

IMAGES = torch.randn(6, 3, 8, 8, generator=torch.Generator().manual_seed(1))
LABELS = torch.tensor([0, 1, 2, 3, 0, 1])


class InPlaceCount(torchmetrics.Metric):
    """Counts by `+=`, keeps rows, and an attribute that is no state."""

    def __init__(self):
        super().__init__()
        self.add_state("total", torch.tensor(0.0), dist_reduce_fx="sum")
        self.add_state("rows", [], dist_reduce_fx="cat")
        self.updates = 0

    def update(self, preds):
        self.total += preds.abs().sum()
        self.rows.append(preds.detach())
        self.updates += 1

    def compute(self):
        return self.total


class Logging(L.LightningModule):
    """Does in `forward` what belongs into steps; real projects do."""

    def __init__(self):
        super().__init__()
        self.net = ConvNet()
        self.mean = torchmetrics.MeanMetric()
        self.count = InPlaceCount()
        self.scores = torchmetrics.MetricCollection(
            {"one": torchmetrics.MeanMetric(), "two": torchmetrics.MeanMetric(), "max": torchmetrics.MaxMetric()}
        )

    def forward(self, x):
        logits = self.net(x)
        self.log("spread", logits.std(), on_epoch=True, on_step=False, batch_size=len(x))
        self.log_dict({"mean": logits.mean()}, on_epoch=True, on_step=False, batch_size=len(x))
        self.log("metric", self.mean, on_epoch=True, on_step=False, batch_size=len(x))
        self.mean.update(logits)
        self.count.update(logits)
        self.scores.update(logits)
        return logits

    def validation_step(self, batch):
        self(batch[0])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def states(module):
    metrics = [m for m in module.modules() if isinstance(m, torchmetrics.Metric)]
    named = [(name, value) for m in metrics for name, value in sorted(m.metric_state.items())]
    return [(name, [v.clone() for v in value] if isinstance(value, list) else value.clone()) for name, value in named]


def quiet(module):
    """Without a Trainer `log` only warns."""
    module.log = module.log_dict = lambda *_, **__: None
    return module


class TestMetrics:
    def test_states_counts_and_attributes_come_back(self):
        module = quiet(Logging())
        module(IMAGES)
        before, updates = str(states(module)), module.count.updates
        with preserved(module):
            module(IMAGES)
            assert str(states(module)) != before
        assert str(states(module)) == before
        assert module.count.updates == module.count._update_count == updates
        assert len(module.count.rows) == 1
        module(IMAGES)
        assert str(states(module)) != before  # control: so it is without the guard

    def test_values_after_an_explanation_are_those_without(self):
        values = []
        for explained in (False, True):
            torch.manual_seed(0)
            module = quiet(Logging()).eval()
            for half in (IMAGES[:3], IMAGES[3:]):
                if explained:
                    Classifier(module).logits(IMAGES)
                module(half)
            values.append([module.mean.compute(), module.count.compute(), *module.scores.compute().values()])
        assert torch.equal(torch.stack(values[0]), torch.stack(values[1]))

    def test_a_first_update_inside_does_not_settle_the_groups_of_a_collection(self):
        class Size(torchmetrics.SumMetric):
            def update(self, value):
                super().update(value.abs())

        scores = torchmetrics.MetricCollection({"sum": torchmetrics.SumMetric(), "size": Size()})

        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.scores = scores

            def forward(self, x):
                self.scores.update(x)
                return x

        net = Net()
        with preserved(net):
            net(torch.ones(2))  # positive, so both have equal states and are merged
            assert len(scores.compute_groups) == 1
        assert len(scores.compute_groups) == 2
        net(torch.tensor([1.0, -3.0]))
        assert scores.compute() == {"size": torch.tensor(4.0), "sum": torch.tensor(-2.0)}

    def test_states_made_in_inference_mode_can_be_counted_on(self):
        module = quiet(Logging())
        with torch.inference_mode():
            module.count.reset()
            module.mean.reset()
        with preserved(module):
            module(IMAGES)
        module(IMAGES)
        assert module.count.updates == 1


class TestLogging:
    def test_log_does_nothing_inside_and_is_the_modules_own_again(self):
        module, heard = Logging(), []
        module.log = lambda name, *_, **__: heard.append(name)
        own = module.log
        assert "log_dict" not in vars(module)
        with preserved(module):
            module(IMAGES)
            assert heard == []
        assert module.log is own
        assert "log_dict" not in vars(module)

    def test_a_plain_module_with_a_log_method_is_not_touched(self):
        class Net(nn.Module):
            def log(self, x):
                return x.log()

        net = Net()
        with preserved(net):
            assert "log" not in vars(net)
            assert net.log(torch.ones(1)) == 0

    def test_it_is_restored_when_the_body_raises(self):
        module = Logging()
        with pytest.raises(KeyError), preserved(module):
            raise KeyError
        assert not {"log", "log_dict"} & vars(module).keys()


class Explain(L.Callback):
    def __init__(self, explain):
        self.explain, self.untouched = explain, []

    def on_validation_batch_end(self, trainer, pl_module, outputs, batch, batch_idx, dataloader_idx=0):
        before = state_of(pl_module)
        self.explain(pl_module, batch[0])
        self.untouched.append(differences(before, state_of(pl_module)))


def run(explain, stage):
    torch.manual_seed(0)
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(IMAGES, LABELS), batch_size=2)
    callback = Explain(explain)
    trainer = L.Trainer(
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        accelerator="cpu",
        callbacks=callback,
    )
    (values,) = getattr(trainer, stage)(Logging(), loader, verbose=False)
    return values, callback.untouched


def test_values_that_the_user_logs_are_the_same_to_the_last_bit_with_explanations():
    plain, _ = run(lambda model, images: None, "validate")
    guarded, untouched = run(lambda model, images: GradCAM()(model, images, target=1), "validate")
    assert set(plain) == {"spread", "mean", "metric"}
    assert guarded == plain
    assert untouched == [[], [], []]
    unguarded, _ = run(lambda model, images: model(images + 1), "validate")
    assert unguarded != plain  # control: a forward of ours would change what the user monitors
