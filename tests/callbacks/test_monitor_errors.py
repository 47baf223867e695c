from __future__ import annotations

import warnings

import lightning as L
import pytest
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from torch import nn
from torch.utils.data import DataLoader

from lightning_xai import ExplanationMonitor, Readout
from lightning_xai.explainers import GradCAM
from lightning_xai.metrics import PointingGame
from lightning_xai.reports import Grid, History, Scalars
from tests.callbacks._tiny import NO_PICTURES, Dicts, Module, Squares, cheap, fit, trainer_of

WHOLE_KEYS = (
    "xai/control/faithfulness, xai/faithfulness, xai/faithfulness_gain, xai/model_evaluations, xai/probe_accuracy, "
    "xai/probe_confidence, xai/seconds, xai/shortcut_alarm, xai/sparseness, xai/undefined/sparseness."
)


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # without a logger, files go to the working directory


def monitor(explainers="grad_cam", metrics=None, **settings):
    given = {"num_images": 3, "reports": NO_PICTURES, **settings}
    return ExplanationMonitor(explainers, cheap() if metrics is None else metrics, **given)


class Watched(Module):
    """Counts training steps; its scheduler may follow a key."""

    def __init__(self, follows=None, **settings):
        super().__init__(**settings)
        self.follows, self.steps = follows, 0

    def training_step(self, batch, batch_idx):
        self.steps += 1
        return super().training_step(batch, batch_idx)

    def configure_optimizers(self):
        optimizer = super().configure_optimizers()
        if self.follows is None:
            return optimizer
        plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, mode="max", patience=2)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": plateau, "monitor": self.follows}}


def refuses(error, text, *callbacks, module=None, **settings):
    """Fit, expect the error, and that not one training step was made."""
    module = Watched() if module is None else module
    with pytest.raises(error, match=text):
        fit(*callbacks, module=module, **settings)
    assert getattr(module, "steps", 0) == 0


@pytest.mark.parametrize(
    ("settings", "error", "text"),
    [
        (
            {"explainers": "gradcam"},
            ValueError,
            r"`explainer` to be one of .*'cam', .* got 'gradcam'\. Did you mean 'grad_",
        ),
        (
            {"metrics": ["sparsness"]},
            ValueError,
            r"`metric` to be one of .* got 'sparsness'\. Did you mean 'sparseness'",
        ),
        ({"num_images": 0}, ValueError, "Expected `num_images` to be >= 1, but got 0"),
        ({"num_images": 2.5}, TypeError, "Expected `num_images` to be a whole number, but got float"),
        ({"every_n_epochs": 0}, ValueError, "Expected `every_n_epochs` to be >= 1, but got 0"),
        ({"every_n_epochs": True}, TypeError, "Expected `every_n_epochs` to be a whole number, but got bool"),
        (
            {"target": "labels"},
            ValueError,
            r"`target` to be one of 'label', .* but got 'labels'\. Did you mean 'label'\?",
        ),
        ({"target": -1}, ValueError, "Expected `target` to be >= 0, but got -1"),
        ({"target": None}, TypeError, "Expected `target` to be a whole number, but got NoneType"),
        ({"prefix": ""}, ValueError, "Expected `prefix` to be a word such as 'xai', but got ''"),
        ({"prefix": None}, TypeError, "Expected `prefix` to be a word such as 'xai', but got NoneType"),
        ({"on_error": "ignore"}, ValueError, "Expected `on_error` to be one of 'warn', 'raise', but got 'ignore'"),
    ],
)
def test_arguments(settings, error, text):
    with pytest.raises(error, match=text):
        ExplanationMonitor(**settings)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"num_images": -1}, "Expected `num_images of the grid` to be >= 0, but got -1"),
        ({"cell_size": 8}, "Expected `cell_size` to be >= 32, but got 8"),
        ({"mean": [0.5]}, "Expected `mean` and `std` of the grid together, but got `mean` alone"),
        ({"std": [0.5]}, "Expected `mean` and `std` of the grid together, but got `std` alone"),
    ],
)
def test_grid(settings, text):
    with pytest.raises(ValueError, match=text):
        Grid(**settings)


def test_what_is_no_trainer():
    class Trainer:
        pass

    with pytest.raises(
        MisconfigurationException, match=r"Trainer of `lightning` or `pytorch_lightning`, but got tests\..*Trainer"
    ):
        monitor().setup(Trainer(), Module(), "fit")


def test_two_monitors_with_one_prefix_are_refused_by_lightning():
    with pytest.raises(RuntimeError, match="more than one stateful callback of type `ExplanationMonitor`"):
        fit(monitor(), monitor())


def test_prefixes_that_begin_one_another():
    text = r"to have its own `prefix`, none of which begins another, but got xai, xai/late\."
    refuses(MisconfigurationException, text, monitor(), monitor(prefix="xai/late"))


@pytest.mark.parametrize(
    "watcher",
    [EarlyStopping("xai/insertion_auc"), ModelCheckpoint(monitor="xai/faithfullness")],
    ids=["stopping", "checkpoint"],
)
def test_watching_a_key_that_is_not_logged(watcher, tmp_path):
    text = (
        f"Expected {type(watcher).__name__} to monitor a key that ExplanationMonitor logs, but got '{watcher.monitor}'"
    )
    checkpoints = isinstance(watcher, ModelCheckpoint)
    settings = {"default_root_dir": tmp_path, "enable_checkpointing": checkpoints}
    refuses(MisconfigurationException, rf"{text}\. It will log: {WHOLE_KEYS}", monitor(), watcher, **settings)


def test_of_several_explainers_the_key_of_one_is_meant():
    text = r"but got 'xai/faithfulness'\. It will log: .*Did you mean 'xai/grad_cam/faithfulness'\?"
    refuses(
        MisconfigurationException,
        text,
        monitor(explainers=["grad_cam", "hires_cam"]),
        EarlyStopping("xai/faithfulness"),
    )


def test_a_scheduler_that_follows_a_key_that_is_not_logged():
    text = "Expected ReduceLROnPlateau to monitor a key .* but got 'xai/faith'. It will log: xai/control/faithfulness"
    refuses(MisconfigurationException, text, monitor(), module=Watched("xai/faith"))


@pytest.mark.parametrize("settings", [{}, {"num_sanity_val_steps": 0}])
def test_watching_localization_without_annotations(settings):
    stop = EarlyStopping("xai/pointing_game", mode="max")
    text = "to monitor a key that ExplanationMonitor logs, but got 'xai/pointing_game'. It will log: .*xai/sparseness"
    with pytest.raises(MisconfigurationException, match=text):
        fit(ExplanationMonitor(num_images=2, reports=NO_PICTURES), stop, **settings)


def test_watching_a_loader_that_does_not_exist():
    stop = EarlyStopping("xai/faithfulness/dataloader_idx_2", mode="max")
    data = Squares()
    text = "but got 'xai/faithfulness/dataloader_idx_2'. It will log: .*xai/faithfulness/dataloader_idx_1"
    refuses(MisconfigurationException, text, monitor(), stop, val=[data.loader(), data.loader()])


def test_watching_a_key_without_the_index_of_its_loader():
    stop = EarlyStopping("xai/faithfulness", mode="max")
    data = Squares()
    text = "but got 'xai/faithfulness'. It will log: .*xai/faithfulness/dataloader_idx_0"
    refuses(MisconfigurationException, text, monitor(), stop, val=[data.loader(), data.loader()])


@pytest.mark.parametrize(
    ("name", "watcher"),
    [
        ("EarlyStopping", EarlyStopping("xai/faithfulness")),
        ("ModelCheckpoint", ModelCheckpoint(monitor="xai/faithfulness")),
    ],
)
def test_the_wrong_mode(name, watcher, tmp_path):
    text = f"{name} monitors 'xai/faithfulness' with mode='min', whose best value is its maximum: set mode='max'."
    checkpoints = isinstance(watcher, ModelCheckpoint)
    with pytest.warns(UserWarning, match=text):
        fit(monitor(), watcher, default_root_dir=tmp_path, enable_checkpointing=checkpoints)


def test_the_right_mode_warns_of_nothing():
    stops = [EarlyStopping("xai/faithfulness", mode="max"), EarlyStopping("xai/seconds"), EarlyStopping("val_loss")]
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*monitors|.*counts every")
        fit(monitor(), *stops, module=Watched("xai/faithfulness_gain"))


def test_patience_in_gaps():
    stop = EarlyStopping("xai/faithfulness", mode="max", patience=4)
    with pytest.warns(UserWarning, match="counts every validation") as caught:
        fit(monitor(every_n_epochs=3), stop, module=Watched("xai/sparseness"))
    said = sorted(str(w.message) for w in caught if "counts every" in str(w.message))
    assert said == [
        "EarlyStopping counts every validation, also those between two explanations, in which 'xai/faithfulness' keeps "
        "its last value: set patience=12 for 4 explained epochs.",
        "ReduceLROnPlateau counts every validation, also those between two explanations, in which 'xai/sparseness' "
        "keeps its last value: set patience=6 for 2 explained epochs.",
    ]


class Flat(Watched):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(256, 3))


@pytest.mark.parametrize(
    ("module", "watched", "text"),
    [
        (Flat, monitor(), "to come past one tensor with space .* Name a layer, or several: .*net"),
        (Watched, monitor(GradCAM("net.33")), r"Expected `target_layer` to be one of 'net', .*but got 'net\.33'"),
        (Watched, monitor(readout=Readout(forward="nett")), r"Expected `forward` to be one of .*Did you mean 'net'\?"),
        (Watched, monitor(readout=Readout(task="binary")), "Expected one logit per image for task='binary'"),
        (Watched, monitor(target=3), r"Expected `target` to be a class in \[0, 2\], the model's 3 classes, but got 3"),
        (
            Watched,
            monitor(metrics=[PointingGame()]),
            "Expected `masks` to be given, because a metric reads it.*hold them beside the labels",
        ),
        (
            Watched,
            monitor(reports=[Scalars(), History(), Grid(mean=[0.1, 0.2], std=[1.0, 1.0])]),
            "`mean` to hold one value or one for each of the 1",
        ),
        (
            lambda: Watched(form="other"),
            monitor(),
            r"model to return logits .* got dict with keys \['scores'\]\. Set `Rea",
        ),
    ],
    ids=["no_spatial_layer", "wrong_layer", "wrong_forward", "wrong_task", "target", "masks", "grid", "output"],
)
def test_configuration_is_checked_before_training(module, watched, text):
    refuses((ValueError, TypeError), text, watched, module=module())


def test_a_module_without_forward():
    class Steps(L.LightningModule):
        def __init__(self):
            super().__init__()
            self.net, self.other = nn.Linear(1, 1), nn.Linear(1, 1)

        def training_step(self, batch, batch_idx):
            raise AssertionError

        def validation_step(self, batch, batch_idx):
            pass

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1)

    text = r"Expected Steps to define `forward`, or `Readout\(forward=...\)` .*parameters: net, other"
    refuses(ValueError, text, monitor(), module=Steps())


@pytest.mark.parametrize(
    ("columns", "error", "text"),
    [
        (("photo", "label"), TypeError, r"but got a mapping with keys \['label', 'photo'\]\. Pass `sample_from_batch="),
        (("image", "kind"), ValueError, "Expected batches with labels, because target='label' .* target='predicted'"),
    ],
)
def test_batches_that_cannot_be_read(columns, error, text):
    class Reading(Watched):
        def validation_step(self, batch, batch_idx):
            pass

    data = Squares()
    loader = DataLoader(Dicts(**dict(zip(columns, (data.images, data.labels), strict=True))), 4)
    refuses(error, text, monitor(), module=Reading(), val=loader)


def test_images_alone_can_be_explained_for_what_is_predicted():
    class Reading(Module):
        def training_step(self, batch, batch_idx):
            return self.net(batch).mean()

        def validation_step(self, batch, batch_idx):
            pass

    trainer = fit(monitor(target="predicted"), module=Reading(), val=DataLoader(Squares().images, 4))
    assert "xai/faithfulness" in trainer.callback_metrics
    assert trainer.callback_metrics["xai/probe_accuracy"] == 0.0  # the stand-in: there are no labels


def test_without_a_sanity_check_the_first_validation_refuses():
    module = Watched()
    with pytest.raises(ValueError, match="Expected `target` to be a class in"):
        fit(monitor(target=3), module=module, num_sanity_val_steps=0, max_epochs=3)
    assert module.steps == 2  # of one epoch


@pytest.mark.parametrize("stage", ["validate", "test"])
def test_runs_outside_a_fit_refuse_too(stage):
    with pytest.raises(ValueError, match="Expected `target` to be a class in"):
        getattr(trainer_of(monitor(target=3)), stage)(Module(), Squares().loader())


def test_an_empty_validation_loader():
    text = "Expected the validation loader to have batches, because ExplanationMonitor takes its images there"
    with pytest.warns(UserWarning, match="Total length of `DataLoader`"):
        refuses(MisconfigurationException, text, monitor(), val=DataLoader([]), train=Squares().loader())


@pytest.mark.parametrize("settings", [{"limit_val_batches": 0}, {"limit_val_batches": 0.0}])
def test_validation_that_is_switched_off(settings):
    with pytest.warns(UserWarning, match="ExplanationMonitor explains nothing: .*limit_val_batches=0"):
        fit(monitor(), **settings)


def test_no_validation_at_all():
    with pytest.warns(UserWarning, match="ExplanationMonitor explains nothing: "):
        trainer_of(monitor()).fit(Module(), Squares().loader())
