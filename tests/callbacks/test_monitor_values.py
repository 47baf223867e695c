from __future__ import annotations

import math
from copy import deepcopy

import pytest
import torch
from lightning.pytorch import Callback
from torch.utils.data import DataLoader, IterableDataset

from lightning_xai import ExplanationMonitor, Readout
from lightning_xai.evidence.heat import compact
from lightning_xai.explainers import CenterHeatmap, GradCAM, RandomHeatmap, get_explainer
from lightning_xai.functional import heatmap_drift
from lightning_xai.metrics import InsertionDeletion, MetricSuite, NuisanceMass, PointingGame, Reliance, Sparseness
from lightning_xai.model import Classifier
from lightning_xai.probing import Sample
from tests.callbacks import _tiny
from tests.callbacks._tiny import NO_PICTURES, Module, OnlySteps, Squares, cheap, chosen, fit, trainer_of, values

COUNT = 5
DEFAULT = [
    "insertion_auc",
    "deletion_auc",
    "insertion_deletion",
    "relative_faithfulness",
    "max_sensitivity",
    "avg_sensitivity",
    "sparseness",
    "complexity",
]
LOCALIZATION = ["pointing_game", "relevance_mass_accuracy", "relevance_rank_accuracy", "box_localization"]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # without a logger, files go to the working directory


def monitor(explainers="grad_cam", metrics=None, **settings):
    given = {"num_images": COUNT, "reports": NO_PICTURES, **settings}
    return ExplanationMonitor(explainers, cheap() if metrics is None else metrics, **given)


def by_hand(module, data, metrics, explainer="grad_cam", *, target=None, readout=None, **annotations):
    """Compute metrics on the probe with the classes of the package and nothing of the callback."""
    rows = chosen(data.images, data.labels, COUNT)
    suite = MetricSuite(metrics)
    suite.update(
        model=Classifier(module, readout),
        images=data.images[rows],
        target=data.labels[rows] if target is None else target[rows],
        explainer=get_explainer(explainer),
        value_range=(data.images[rows].min().item(), data.images[rows].max().item()),  # of the probe, not of an image
        **{name: part[rows] for name, part in annotations.items()},
    )
    return {name: value.item() for name, value in suite.compute().items()}, suite


def agree(found, expected, tolerance=2e-5):
    missing = {name for name, value in expected.items() if math.isnan(value)}
    assert missing.isdisjoint(found)
    for name, value in expected.items():
        assert name in missing or found[name] == pytest.approx(value, abs=tolerance), name


class Evaluations(Callback):
    """Count the images that go through the module in validations, without those of its own step."""

    def __init__(self):
        self.counts = []

    def on_validation_start(self, trainer, pl_module):
        self.count = 0
        self.handle = pl_module.net.register_forward_pre_hook(self.add)

    def add(self, _, args):
        self.count += len(args[0])

    def on_validation_batch_end(self, trainer, pl_module, outputs, batch, batch_idx, dataloader_idx=0):
        self.count -= len(batch[0])

    def on_validation_end(self, trainer, pl_module):
        self.handle.remove()
        if not trainer.sanity_checking:
            self.counts.append(self.count)


@pytest.mark.parametrize("stage", ["fit", "validate", "test"])
def test_values_are_those_of_the_metrics(stage):
    data, module, watched = Squares(), Module(), ExplanationMonitor(num_images=COUNT, reports=NO_PICTURES)
    trainer = trainer_of(watched)
    loaders = [data.loader(data.labels, data.masks)] * (2 if stage == "fit" else 1)
    getattr(trainer, stage)(module, *loaders)
    expected, _ = by_hand(module, data, DEFAULT + LOCALIZATION, masks=data.masks)
    found = values(trainer)
    agree(found, expected)
    assert "heatmap_drift" not in found or stage == "fit"
    assert found["undefined/heatmap_drift"] == COUNT
    rows = chosen(data.images, data.labels, COUNT)
    probabilities = module.eval()(data.images[rows]).softmax(1)
    correct = (probabilities.argmax(1) == data.labels[rows]).float()
    agree(
        found,
        {"probe_accuracy": correct.mean().item(), "probe_confidence": probabilities.amax(1).mean().item()},
    )
    if stage == "fit":
        errors = {k.removeprefix("xai/"): v for k, v in watched.history[0].items() if k.endswith("_se")}
        assert errors["probe_accuracy_se"] == pytest.approx(correct.std().item() / math.sqrt(COUNT))


def test_the_gain_is_the_paired_difference_to_the_control():
    data, module, watched = Squares(), Module(), monitor(seed=3)
    trainer = fit(watched, module=module, val=data.loader())
    rows = chosen(data.images, data.labels, COUNT)
    images, target = data.images[rows], data.labels[rows]
    metric = InsertionDeletion(num_steps=4)
    scores = []
    for explainer in (GradCAM(), RandomHeatmap(seed=3)):
        metric.reset()
        metric.update(model=module, images=images, heatmaps=explainer(module, images, target), target=target)
        scores.append(metric.rows.clone())
    gain = scores[0] - scores[1]
    agree(
        {**values(trainer), **{k.removeprefix("xai/"): v for k, v in watched.history[-1].items()}},
        {
            "faithfulness": scores[0].mean().item(),
            "control/faithfulness": scores[1].mean().item(),
            "faithfulness_gain": gain.mean().item(),
            "faithfulness_se": scores[0].std().item() / math.sqrt(COUNT),
            "faithfulness_gain_se": gain.std().item() / math.sqrt(COUNT),
        },
    )
    assert values(trainer)["faithfulness_gain"] == pytest.approx(
        values(trainer)["faithfulness"] - values(trainer)["control/faithfulness"], abs=1e-6
    )


class Weights(Callback):
    """Remember the module of every validation."""

    def __init__(self):
        self.modules = []

    def on_validation_end(self, trainer, pl_module):
        if not trainer.sanity_checking:
            self.modules.append(deepcopy(pl_module.net).eval())


def test_drift_compares_with_the_epoch_before():
    data, seen, watched = Squares(), Weights(), monitor(metrics="heatmap_drift")
    fit(watched, seen, module=Module(lr=0.5), val=data.loader(), max_epochs=3)
    rows = chosen(data.images, data.labels, COUNT)
    maps = [GradCAM()(net, data.images[rows], data.labels[rows]) for net in seen.modules]
    assert "xai/heatmap_drift" not in watched.history[0]
    assert watched.history[0]["xai/undefined/heatmap_drift"] == COUNT
    for epoch in (1, 2):
        drift = heatmap_drift(maps[epoch], compact(maps[epoch - 1]).float())
        assert watched.history[epoch]["xai/heatmap_drift"] == pytest.approx(drift.nanmean().item(), abs=2e-3)
        assert watched.history[epoch]["xai/undefined/heatmap_drift"] == drift.isnan().sum()


def test_drift_compares_maps_of_one_class_only():
    """The predicted class changes when the head is turned round; then there is nothing to compare."""

    class Turning(Module):
        def on_validation_start(self):
            if self.trainer.current_epoch == 1:
                self.net[-1].weight.data.neg_()
                self.net[-1].bias.data.neg_()

    watched = monitor(metrics="heatmap_drift", target="predicted")
    fit(watched, module=Turning(lr=0.0), max_epochs=3)
    undefined = [row["xai/undefined/heatmap_drift"] for row in watched.history]
    assert undefined[:2] == [COUNT, COUNT]
    assert undefined[2] < COUNT


def test_several_explainers_and_loaders():
    first, second = Squares(seed=1), Squares(9, seed=2)
    module, watched = Module(), monitor(["grad_cam", "center_heatmap"])
    loaders = [first.loader(), second.loader(second.labels, second.boxes)]
    trainer = fit(watched, module=module, val=loaders)
    found = values(trainer)
    for index, data in enumerate((first, second)):
        for explainer in ("grad_cam", "center_heatmap"):
            expected, _ = by_hand(module, data, cheap(), explainer)
            agree(found, {f"{explainer}/{name}/dataloader_idx_{index}": value for name, value in expected.items()})
        control = found[f"control/faithfulness/dataloader_idx_{index}"]
        gain = found[f"center_heatmap/faithfulness/dataloader_idx_{index}"] - control
        assert found[f"center_heatmap/faithfulness_gain/dataloader_idx_{index}"] == pytest.approx(gain, abs=1e-6)
    assert "probe_accuracy/dataloader_idx_1" in found
    assert "faithfulness" not in found


def test_localization_belongs_to_the_loader_that_has_annotations():
    data = Squares()
    watched = ExplanationMonitor(num_images=2, reports=NO_PICTURES)
    trainer = fit(watched, val=[data.loader(), data.loader(data.labels, data.boxes)])
    localized = {name for name in values(trainer) if name.split("/")[0] in LOCALIZATION}
    assert localized == {f"{name}/dataloader_idx_1" for name in LOCALIZATION}


def test_an_empty_loader_keeps_the_names_of_the_other():
    watched = monitor()
    trainer = fit(watched, val=[Squares().loader(), DataLoader([])])
    assert "faithfulness/dataloader_idx_0" in values(trainer)
    assert not any(name.endswith("idx_1") or name == "faithfulness" for name in values(trainer))


@pytest.mark.parametrize("annotation", ["masks", "boxes"])
def test_masks_and_boxes(annotation):
    data, module = Squares(), Module()
    watched = monitor(metrics=LOCALIZATION)
    trainer = fit(watched, module=module, val=data.loader(data.labels, getattr(data, annotation)))
    expected, suite = by_hand(module, data, LOCALIZATION, **{annotation: getattr(data, annotation)})
    agree(values(trainer), expected)
    agree(values(trainer), {f"undefined/{n}": m.undefined for n, m in suite.explanation_metrics().items()})


def test_without_annotations_there_are_no_localization_keys():
    trainer = fit(ExplanationMonitor(num_images=2, reports=NO_PICTURES))
    assert not any(name in key for key in trainer.callback_metrics for name in LOCALIZATION)


@pytest.mark.parametrize("target", ["label", "predicted", "least_probable", "top_1", "top_2", "top_3", 1])
def test_explained_class(target):
    data, module, watched = Squares(), Module(), monitor(target=target)
    trainer = fit(watched, module=module, val=data.loader())
    logits = module.eval()(data.images)
    explained = {
        "label": data.labels,
        "predicted": logits.argmax(1),
        "least_probable": logits.argmin(1),
        "top_1": logits.argmax(1),
        "top_2": logits.topk(2).indices[:, 1],
        "top_3": logits.topk(3).indices[:, 2],
        1: torch.ones_like(data.labels),
    }[target]
    agree(values(trainer), by_hand(module, data, cheap(), target=explained)[0])


@pytest.mark.filterwarnings("ignore:.*though all of it lies in")  # by chance, untrained
@pytest.mark.parametrize("column", [True, False])
def test_one_logit(column):
    data, module = Squares(), Module(classes=1)
    data.labels = data.labels % 2
    labels = data.labels.float()[:, None] if column else data.labels.float()
    trainer = fit(monitor(), module=module, val=data.loader(labels))
    found = values(trainer)
    agree(found, by_hand(module, data, cheap())[0])
    rows = chosen(data.images, data.labels, COUNT)
    yes = module.eval()(data.images[rows])[:, 0] > 0
    assert found["probe_accuracy"] == pytest.approx((yes == data.labels[rows].bool()).float().mean().item())


def test_many_labels():
    data, module = Squares(), Module()
    hot = torch.zeros(len(data.labels), 3).scatter_(1, data.labels[:, None], 1.0)
    readout = Readout(task="multilabel")
    trainer = fit(monitor(readout=readout), module=module, val=data.loader(hot))
    found = values(trainer)
    agree(found, by_hand(module, data, cheap(), readout=readout)[0])
    rows = chosen(data.images, data.labels, COUNT)
    asked = module.eval()(data.images[rows]).sigmoid().gather(1, data.labels[rows, None])
    agree(found, {"probe_accuracy": (asked > 0.5).float().mean().item(), "probe_confidence": asked.mean().item()})


@pytest.mark.parametrize(
    ("form", "readout"),
    [
        ("dict", None),
        ("object", None),
        ("tuple", None),
        ("other", Readout(logits_from_output="scores")),
        ("other", Readout(logits_from_output=lambda output: output["scores"])),
    ],
)
def test_outputs_of_every_form_give_the_same_values(form, readout):
    data, module = Squares(), Module(form=form)
    trainer = fit(monitor(readout=readout), module=module, val=data.loader())
    agree(values(trainer), by_hand(module.net, data, cheap())[0])


@pytest.mark.parametrize("readout", [None, Readout(forward="net")])
def test_a_module_with_steps_only(readout):
    data, module = Squares(), OnlySteps()
    trainer = fit(monitor(readout=readout), module=module, val=data.loader())
    agree(values(trainer), by_hand(module.net, data, cheap())[0])


@pytest.mark.parametrize("whole", [True, False])
def test_a_compiled_module(whole):
    data, module = Squares(), Module()
    if not whole:
        module.net = torch.compile(module.net, backend="eager")
    trainer = fit(monitor(), module=torch.compile(module, backend="eager") if whole else module, val=data.loader())
    plain = Module()
    plain.net.load_state_dict(getattr(module.net, "_orig_mod", module.net).state_dict())
    agree(values(trainer), by_hand(plain, data, cheap())[0])


def test_batches_of_the_users_own_form():
    data, module = Squares(), Module()

    def read(batch):
        return Sample(batch["image"], batch["label"], masks=batch["where"])

    loader = DataLoader(_tiny.Dicts(image=data.images, label=data.labels, where=data.masks), 4)
    trainer = fit(monitor(metrics=[PointingGame(), Sparseness()], sample_from_batch=read), module=module, val=loader)
    agree(values(trainer), by_hand(module, data, [PointingGame(), Sparseness()], masks=data.masks)[0])


def test_named_regions_of_a_batch_reach_the_metrics():
    data, module = Squares(), Module()
    corner = torch.zeros_like(data.masks)
    corner[:, 12:, :4] = True
    columns = {
        "image": data.images,
        "label": data.labels,
        "regions": [{"shape": a, "corner": b} for a, b in zip(data.masks, corner, strict=True)],
    }
    metrics = [Reliance("shape"), Reliance("corner"), NuisanceMass("corner")]
    watched = monitor(["grad_cam", "hires_cam"], metrics=metrics)
    trainer = fit(watched, module=module, val=DataLoader(_tiny.Dicts(**columns), 4))
    rows = chosen(data.images, data.labels, COUNT)
    regions = {"shape": data.masks[rows], "corner": corner[rows]}
    for explainer in ("grad_cam", "hires_cam"):
        suite = MetricSuite(metrics)
        images, target = data.images[rows], data.labels[rows]
        suite.update(model=module, images=images, target=target, explainer=get_explainer(explainer), regions=regions)
        agree(values(trainer), {f"{explainer}/{name}": value.item() for name, value in suite.compute().items()})
        for name, area in regions.items():
            heat = get_explainer(explainer)(module, images, target).relu()
            shares = (heat * area).sum((1, 2)) / heat.sum((1, 2))
            found = watched.latest.estimates[f"xai/{explainer}/heat_in/{name}"]
            assert (found.value, found.error) == pytest.approx(
                (float(shares.mean()), float(shares.std()) / COUNT**0.5), rel=1e-4
            )
    assert values(trainer)["grad_cam/reliance/shape"] != 0.0
    assert values(trainer)["grad_cam/undefined/reliance/corner"] == 0.0
    assert watched.latest.scores("reliance/shape", "grad_cam").rows.shape == (COUNT, 2)


def test_a_region_that_no_batch_names_ends_the_run_before_training():
    with pytest.raises(ValueError, match="Expected `regions` to be given, because a metric reads it"):
        fit(monitor(metrics=[Reliance("marker")]), module=Module(), val=Squares().loader())


def test_a_metric_of_the_user():
    data = Squares()
    trainer = fit(monitor(metrics=[_tiny.Brightness()]), val=data.loader())
    rows = chosen(data.images, data.labels, COUNT)
    assert values(trainer)["brightness"] == pytest.approx(data.images[rows].mean().item())


def test_model_evaluations_are_counted_and_few():
    """The default suite asks the model at most 125 times per image; another explainer adds its own share only."""
    spent = {}
    for explainers in (("grad_cam",), ("grad_cam", "hires_cam")):
        counted, watched = Evaluations(), ExplanationMonitor(explainers, num_images=COUNT, reports=NO_PICTURES)
        fit(watched, counted, max_epochs=2)
        first, second = (row["xai/model_evaluations"] for row in watched.history)
        # the automatic layer is looked for at the probe's first image: twice two images, which are no evaluations
        assert [first + 4, second] == counted.counts
        spent[len(explainers)] = counted.counts[1] / COUNT
    assert spent[1] <= 125
    assert spent[2] - spent[1] == 1 + 2 * 10 + 10  # its map, its two curves, its neighbours


class LargestForward(Module):
    """Note how many images came together outside training and validation steps."""

    largest = 0

    def validation_step(self, batch, index):
        self.validating = True
        super().validation_step(batch, index)
        self.validating = False

    def forward(self, images):
        if not self.training and not getattr(self, "validating", False):
            type(self).largest = max(type(self).largest, len(images))
        return super().forward(images)


@pytest.mark.parametrize(
    ("batch_size", "times", "chunk_size", "largest"), [(1, 1, None, 32), (40, 10, None, 16), (1, 1, 2, 2)]
)
def test_as_many_images_together_as_suits_a_cpu(batch_size, times, chunk_size, largest):
    LargestForward.largest = 0
    data = Squares(40)
    data.images = data.images.repeat(1, 1, times, times)  # of 16 or 160 pixels
    watched = monitor(metrics=[InsertionDeletion(num_steps=8)], readout=Readout(chunk_size=chunk_size), num_images=12)
    fit(watched, module=LargestForward(), val=data.loader(batch_size=batch_size))
    assert LargestForward.largest == largest


@pytest.mark.parametrize("stage", ["validate", "test"])
def test_a_run_outside_a_fit_has_its_own_probe_and_leaves_the_fit_alone(stage):
    data, other, module, watched = Squares(seed=1), Squares(seed=2), Module(), monitor()
    trainer = fit(watched, module=module, val=data.loader())
    history = watched.history
    getattr(trainer, stage)(module, other.loader())
    assert watched.history[:-1] == history
    assert watched.history[-1].stage == stage
    agree(values(trainer), by_hand(module, other, cheap())[0])


def test_a_new_fit_starts_afresh():
    watched, data = monitor(metrics="heatmap_drift"), Squares(seed=2)
    fit(watched, max_epochs=2)
    trainer = fit(watched, val=data.loader(), max_epochs=1)
    assert len(watched.history) == 1
    assert values(trainer)["undefined/heatmap_drift"] == COUNT


def test_a_validation_every_half_epoch():
    watched = monitor(every_n_steps=1)
    fit(watched, val_check_interval=1, max_epochs=2)
    assert [(row["epoch"], row["step"]) for row in watched.history] == [(0, 0), (0, 1), (1, 2), (1, 3)]


def test_gaps():
    watched = monitor(every_n_epochs=3)
    trainer = fit(watched, max_epochs=5)
    assert [row["epoch"] for row in watched.history] == [0, 2]
    assert values(trainer)["faithfulness"] == watched.history[-1]["xai/faithfulness"]  # still there after a gap


def test_two_monitors():
    data, module = Squares(), Module()
    second = ExplanationMonitor(CenterHeatmap(), cheap(), prefix="val/xai", num_images=COUNT, reports=NO_PICTURES)
    trainer = fit(monitor(), second, module=module, val=data.loader())
    agree(values(trainer), by_hand(module, data, cheap())[0])
    found = {k.removeprefix("val/xai/"): v.item() for k, v in trainer.callback_metrics.items()}
    agree(found, by_hand(module, data, cheap(), "center_heatmap")[0])


class Stream(IterableDataset):
    """Images in an order of their own, without a length."""

    def __init__(self, data):
        self.data = data

    def __iter__(self):
        for index in torch.randperm(len(self.data.labels), generator=torch.Generator().manual_seed(4)).tolist():
            yield self.data.images[index], self.data.labels[index]


def test_a_loader_without_a_length():
    data, module = Squares(), Module()
    trainer = fit(monitor(), module=module, val=DataLoader(Stream(data), 5), train=data.loader())
    agree(values(trainer), by_hand(module, data, cheap())[0])


def test_fewer_images_than_wished():
    data, module, watched = Squares(4), Module(), monitor(metrics="sparseness", num_images=50)
    trainer = fit(watched, module=module, val=data.loader())
    maps = GradCAM()(module, data.images, data.labels)
    metric = Sparseness()
    metric.update(heatmaps=maps)
    agree(values(trainer), {"sparseness": metric.compute().item(), "undefined/sparseness": metric.undefined})
    assert values(trainer)["model_evaluations"] == 2 * 4  # logits and a map each


def test_explainers_are_compared_with_each_other():
    compared = monitor(["grad_cam", "layer_cam"], ["explainer_agreement", "sparseness"])
    fit(compared)
    row = compared.history[-1]
    assert -1 <= row["xai/grad_cam/explainer_agreement"] < 1
    assert row["xai/grad_cam/explainer_agreement"] == pytest.approx(row["xai/layer_cam/explainer_agreement"], abs=1e-6)


def test_one_explainer_has_nobody_to_agree_with():
    with pytest.raises(ValueError, match="Expected `other_heatmaps` to be given"):
        fit(monitor("grad_cam", ["explainer_agreement"]))
