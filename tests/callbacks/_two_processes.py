"""Real processes, two or more, started once, in which Trainers with DDP run one situation after the other."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from torch.utils.data import DataLoader
from torchmetrics.classification import MultilabelAUROC

from lightning_xai import (
    ChestXraysDataset,
    ExplanationCheckpoint,
    ExplanationEarlyStopping,
    ExplanationMonitor,
    JointEarlyStopping,
    Readout,
)
from lightning_xai.callbacks.run import run_state
from lightning_xai.callbacks.steps import room
from lightning_xai.explainers import GradCAM
from lightning_xai.metrics import InsertionDeletion, NuisanceMass, PointingGame, RelevanceMassAccuracy, Reliance, suite
from lightning_xai.probing import sample_from_batch
from lightning_xai.reports import AccuracyAlignment, Grid, History, Report, Scalars, accuracy_alignment, numbers
from tests.callbacks import _runs, _scripted, _shortcut
from tests.callbacks._clock import Clock
from tests.callbacks._runs import (
    Attendance,
    Constant,
    Net,
    differing,
    loader,
    monitor,
    remembered,
    small_metrics,
    train,
    unguarded,
)

ROOT = Path(__file__).parents[2]
TIMEOUT = 480.0


def run(folder: Path, module: str = __name__, num_ranks: int = 2, situations: Sequence[str] = ()):
    """Return what each rank of a module found, ``[{situation: result}, …]``; raise if one does not end well."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    world = {"WORLD_SIZE": str(num_ranks), "LOCAL_WORLD_SIZE": str(num_ranks), "GROUP_RANK": "0"}
    common = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), **world}
    common |= {"TORCHELASTIC_RUN_ID": "test", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", module, str(folder), *situations]
    processes = []
    for rank in map(str, range(num_ranks)):
        with (folder / f"rank{rank}.txt").open("w") as output:
            env = {**os.environ, **common, "RANK": rank, "LOCAL_RANK": rank}
            processes.append(subprocess.Popen(command, env=env, cwd=folder, stdout=output, stderr=output))
    end = time.monotonic() + TIMEOUT
    try:
        while any(process.poll() is None for process in processes) and time.monotonic() < end:
            if any(process.poll() for process in processes):
                break
            time.sleep(0.1)
    finally:
        for process in processes:
            process.kill()
    codes = [process.wait() for process in processes]
    if codes != [0] * num_ranks:
        said = "\n".join((folder / f"rank{rank}.txt").read_text()[-4000:] for rank in range(num_ranks))
        raise RuntimeError(f"Expected {num_ranks} processes to finish, but their exit codes are {codes}:\n{said}")
    return found_by(folder, num_ranks)


def found_by(folder: Path, num_ranks: int):
    """Read what each rank found."""
    return [torch.load(folder / f"found{rank}.pt", weights_only=False) for rank in range(num_ranks)]


class Drifting(Net):
    """Has no statistics and learns nothing: its weights move by themselves, equally in any number of processes."""

    def __init__(self):
        super().__init__()
        self.net[1] = torch.nn.Identity()

    def on_train_epoch_start(self):
        noise = torch.Generator().manual_seed(self.current_epoch)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.add_(0.2 * torch.randn(parameter.shape, generator=noise).to(parameter))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.0)


class OfTable(Drifting):
    """Wants a number beside each image."""

    def forward(self, images, table):
        return super().forward(images) * (1.0 + table[:, None])

    def training_step(self, batch, batch_idx):
        return torch.nn.functional.cross_entropy(self(batch[0], batch[2]), batch[1])

    def validation_step(self, batch, batch_idx, dataloader_idx=0):
        self.log("val_loss", self.training_step(batch, batch_idx))


class WithNumbers(_runs.Images):
    """Images, labels and a number for each."""

    def __getitem__(self, index):
        return (*super().__getitem__(index), 0.5 * torch.tensor(float(index)))


VARIANTS = {
    "five_of_seven": {"explainers": ["grad_cam", "layer_cam"], "stages": ("validate", "test")},
    "three_of_seven": {"num_images": 3},
    "one_of_seven": {"num_images": 1},
    "all_of_seven": {"num_images": 32},
    "small_batches": {"batch_size": 1},
    "shuffled": {"shuffle": True},
    "every_rank_sees_all": {"use_distributed_sampler": False},
    "masks": {"masks": True, "stages": ("validate",)},
    "table": {"table": True, "explainers": "expected_grad_cam", "shuffle": True},
    "references": {"explainers": "expected_grad_cam", "num_images": 3},
    "several_sizes": {"batch_size": 1, "masks": False, "change": "size"},
    "groups": {"groups": True, "shuffle": True, "num_images": 6, "stages": ("validate",)},
}
IN_THREE = ("five_of_seven", "one_of_seven", "all_of_seven", "references", "several_sizes", "groups")
"""Variants in which shares of three ranks differ in kind: padded by one or two, fewer images than ranks, merged."""
LOCALIZATION = ["pointing_game", "relevance_mass_accuracy", "relevance_rank_accuracy", "box_localization"]


def of_another_size(image):
    """Enlarge an image to one of three sizes, which its own values decide."""
    height, width = ((8, 8), (12, 8), (12, 16))[int(1000 * image[0, 0, 0]) % 3]
    return torch.nn.functional.interpolate(image[None], (height, width))[0]


def sites(batch):
    """Return the group of each image, which its own values decide."""
    return ["ab"[int(1000 * image[0, 0, 0]) % 2] for image in batch[0]]


def drifting(
    *,
    explainers="grad_cam",
    num_images=5,
    batch_size=4,
    shuffle=False,
    masks=False,
    change=None,
    table=False,
    groups=False,
    stages=(),
    **settings,
):
    """Return history and probe of a run on seven images, the same on any number of processes."""
    by_site = {"groups": sites, "breakdown": ["faithfulness_gain"]} if groups else {}
    ours = monitor(explainers, [*small_metrics(), *LOCALIZATION * masks], num_images=num_images, **by_site)
    change = of_another_size if change == "size" else None
    data = loader(7, seed=1, batch_size=batch_size, shuffle=shuffle, masks=masks, change=change)
    training, module = loader(8, masks=masks), Drifting
    if table:
        training, data = (DataLoader(WithNumbers(count, seed=1), 4, shuffle=True) for count in (8, 7))
        module = OfTable
    run = train([ours], module, train_loader=training, val_loader=data, **settings)
    probe = ours._runs["fit"].probes[0]
    found = {"rows": remembered(ours), "probe": probe.identities, "groups": probe.places_by_size}
    for name in stages:
        (values,) = getattr(run.trainer, name)(run.module, data, verbose=False)
        found[name] = {key: value for key, value in values.items() if key.startswith("xai/")}
    return found


class OnRank(Constant):
    """Raises on one rank only, in some epochs."""

    def __init__(self, rank, *epochs):
        super().__init__()
        self._rank, self._epochs = rank, epochs

    def explain(self, classifier, images, target):
        trainer = classifier.model.trainer
        here = trainer.global_rank == self._rank and not trainer.sanity_checking
        if here and trainer.current_epoch in self._epochs:
            raise RuntimeError("no heatmap here")
        return super().explain(classifier, images, target)


class UnreadableOnRankOne:
    """A `sample_from_batch` that fails on rank 1 in one epoch."""

    def __init__(self, attendance, epoch):
        self.attendance, self.epoch = attendance, epoch

    def __call__(self, batch):
        trainer = self.attendance.trainer
        if trainer.global_rank == 1 and not trainer.sanity_checking and trainer.current_epoch == self.epoch:
            raise RuntimeError("no images here")
        return sample_from_batch(batch)


FOUR = {"max_epochs": 4, "min_epochs": 4}


def told(caught):
    return [str(w.message) for w in caught if "ExplanationMonitor" in str(w.message)]


def watched(ours, attendance, folder, **settings):
    """Train with monitors on our keys and return what they saw and did."""
    stopping = EarlyStopping("xai/faithfulness", mode="max", patience=2)
    saving = ModelCheckpoint(folder, monitor="xai/faithfulness", mode="max", filename="{epoch}", save_top_k=2)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run = train([ours, stopping, saving, attendance], Drifting, val_loader=loader(7, seed=1), **settings)
    return {
        "seen": [(epoch, {k: v for k, v in values.items() if k != "xai/seconds"}) for epoch, values in attendance.seen],
        "epochs": run.trainer.current_epoch,
        "stopped": stopping.stopped_epoch,
        "best": Path(saving.best_model_path).name,
        "kept": sorted(Path(path).name for path in saving.best_k_models),
        "explained": [row["epoch"] for row in ours.history],
        "told": told(caught),
    }


def weights(folder):
    """Whether training in two processes is the same, although an explainer does harm, and whether harm would show."""

    def harm(classifier, images):
        torch.rand(3)
        classifier.model.train()
        classifier.forward(images)

    def fit(*callbacks):
        make, data = (lambda: Net(dropout=0.5)), loader(16, shuffle=True)
        return train(list(callbacks), make, train_loader=data, val_loader=loader(7, seed=1), max_epochs=2).state()

    expected = fit()
    patch = pytest.MonkeyPatch()
    found = {"differing": differing(fit(monitor(["grad_cam", Constant(harm)])), expected)}
    with unguarded(patch):
        found["control"] = differing(fit(monitor(Constant(harm))), expected)
    return found


def probes_and_values(folder):
    """Rows, probe and stages of the variants."""
    names = VARIANTS if os.environ["WORLD_SIZE"] == "2" else IN_THREE
    return {name: drifting(**VARIANTS[name]) for name in names}


def agreement(folder):
    """What monitors do on each rank."""
    return watched(monitor("grad_cam"), Attendance(), folder / "agreement", max_epochs=8)


def one_rank_raises(folder):
    """An explainer fails on rank 1 in epoch 0, on rank 0 in epoch 2."""
    found = {}
    for rank, epoch in ((1, 0), (0, 2)):
        ours = monitor(OnRank(rank, epoch), num_images=5)
        found[rank, epoch] = watched(ours, Attendance(), folder / f"raises{rank}", **FOUR)
    return found


def one_rank_reads_nothing(folder):
    """A batch cannot be read on rank 1, in the first validation or later."""
    found = {}
    for epoch in (0, 2):
        attendance = Attendance()
        ours = monitor(sample_from_batch=UnreadableOnRankOne(attendance, epoch))
        found[epoch] = watched(ours, attendance, folder / f"reads{epoch}", **FOUR)
    return found


FORWARDS = []


class Counted(Drifting):
    """Notes every forward in evaluation; an attribute would be put back."""

    def forward(self, images):
        if not self.training:
            FORWARDS.append(tuple(images.shape))
        return super().forward(images)


def forwards(folder):
    """The forwards of each rank while images of several sizes are explained, and batches that differ in length."""
    found = {}
    for name, count in (("sizes", 7), ("one_image", 1)):
        FORWARDS.clear()
        ours = monitor(num_images=count)
        data = loader(count, seed=1, batch_size=1, change=of_another_size)
        train([ours], Counted, val_loader=data, max_epochs=1, use_distributed_sampler=False)
        found[name] = list(FORWARDS)
    FORWARDS.clear()
    mine = loader(3 if os.environ["RANK"] == "1" else 10, seed=1, batch_size=4)
    train([monitor(num_images=8)], Counted, val_loader=mine, max_epochs=1, use_distributed_sampler=False)
    found["batches"] = len(FORWARDS)  # of validation and sanity check: 3 + 2 + ours and 1 + 1 + ours
    return found


def annotations_on_one_rank(folder):
    """What monitors see on each rank where only one has masks, or (controls) both or none."""
    found = {}
    patch = pytest.MonkeyPatch()
    patch.setattr(suite, "_default_metrics", lambda: [InsertionDeletion(4), PointingGame(), RelevanceMassAccuracy()])
    for name, ranks, settings in (
        ("both", "01", {}),
        ("first", "0", {}),
        ("second", "1", {}),
        ("no_sanity_check", "1", {"num_sanity_val_steps": 0}),
        ("error", "0", {"explainers": OnRank(1, 0)}),
        ("named", "0", {"metrics": [InsertionDeletion(4), PointingGame()]}),
        ("none", "", {}),
    ):
        given = {"explainers": settings.pop("explainers", "grad_cam"), "metrics": settings.pop("metrics", None)}
        ours, attendance = ExplanationMonitor(**given, num_images=8, reports=History()), Attendance()
        data = loader(5, seed=int(os.environ["RANK"]), masks=os.environ["RANK"] in ranks)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            train([ours, attendance], Drifting, val_loader=data, use_distributed_sampler=False, **settings)
        seen = [{k: v for k, v in values.items() if k != "xai/seconds"} for _, values in attendance.seen]
        found[name] = {"seen": seen, "rows": len(ours.history)}
    patch.undo()
    return found


def decisions(folder):
    """What stopping and checkpoint decide where each rank has logged an accuracy of its own."""
    accuracies, scores = (0.5, 0.80, 0.82, 0.84, 0.86, 0.88), (0.1, 0.9, 0.7, 0.65, 0.5, 0.3)

    class OfItsOwn(_scripted.graded([])):
        def on_validation_epoch_end(self):
            if not self.trainer.sanity_checking:
                own = accuracies[self.current_epoch] - 0.3 * self.trainer.global_rank
                self.log("val_acc", own, rank_zero_only=False)

    folder = folder / "decisions"
    stop = _scripted.stopping(patience=2, min_delta=0.05, only_if={"val_acc": 0.79})
    guard = _scripted.stopping(rule="fall", patience=1)
    keep = _scripted.keeping(folder, save_last=True, margin=0.05)
    counted = _scripted.keeping(folder / "counted", rule="pareto")
    run = train(
        [_scripted.watch(scores, centred=False), stop, guard, keep, counted],
        OfItsOwn,
        max_epochs=6,
        limit_train_batches=1,
        val_loader=loader(12, seed=1),
        num_sanity_val_steps=0,
    )
    return {
        "epochs": run.trainer.current_epoch,
        "stopped": [(one.stopped_epoch, one.decision.reason) for one in (stop, guard)],
        "best": Path(keep.best_model_path).name,
        "reason": keep.reason,
        "kept": [(one.epoch, one.accuracy) for one in keep.kept],
        "counted": (counted.kept[-1].accuracy, counted.kept[-1].accuracy_error),
        "files": _scripted.files(folder),
    }


def joint(folder):
    """When both ranks stop: on the first nothing gets better, on the second everything does; and what each knows."""

    class OfItsOwn(_runs.Net):
        def on_validation_epoch_end(self):
            self.log("own", float(self.current_epoch * self.trainer.global_rank), rank_zero_only=False)

    stop = JointEarlyStopping({"own": "max"}, patience=3)
    found = train([stop], OfItsOwn, max_epochs=9, limit_train_batches=1, num_sanity_val_steps=0)
    return {
        "epochs": found.trainer.current_epoch,
        "stopped": stop.stopped_epoch,
        "best": stop.best,
        "waited": stop.wait_count,
    }


class Findings(Drifting):
    """Says of each finding in an X-ray whether it is there; logs the AUROC of the whole validation."""

    def __init__(self):
        super().__init__()
        self.head = torch.nn.Linear(4, 5)
        self.auroc = MultilabelAUROC(5, thresholds=None)

    def training_step(self, batch, batch_idx):
        return torch.nn.functional.binary_cross_entropy_with_logits(self(batch["image"]), batch["label"])

    def validation_step(self, batch, batch_idx, dataloader_idx=0):
        self.auroc.update(self(batch["image"]), batch["label"].int())
        self.log("val_auroc", self.auroc, on_epoch=True)


def findings(folder):
    """Rows, probe and decisions of a run on X-rays with several findings, boxes for some, and named regions."""
    metrics = [InsertionDeletion(4), PointingGame(), Reliance("effusion", "mean"), Reliance("marker"), NuisanceMass()]
    ours = monitor(metrics=metrics, num_images=10, readout=Readout(task="multilabel"))
    stop = ExplanationEarlyStopping(rule="no_gain", patience=2)
    keep = ExplanationCheckpoint(
        accuracy="val_auroc", margin=0.05, dirpath=folder / "findings", filename="{epoch}", rule="pareto"
    )
    data = ChestXraysDataset(24, 48, marker=0.9)  # as many for each of one, two or three processes
    loaders = {"train_loader": DataLoader(data, 4), "val_loader": DataLoader(data, 4)}
    run = train([ours, stop, keep], Findings, max_epochs=6, limit_train_batches=1, num_sanity_val_steps=0, **loaders)
    return {
        "rows": [(epoch.epoch, dict(epoch)) for epoch in ours.history],
        "auroc": float(run.trainer.callback_metrics["val_auroc"]),
        "probe": ours._runs["fit"].probes[0].identities,
        "decided": {
            "epochs": run.trainer.current_epoch,
            "stopped": stop.stopped_epoch,
            "best": Path(keep.best_model_path).name,
            "kept": [one.epoch for one in keep.kept],
        },
        "reasons": (stop.decision.reason, keep.reason),
    }


def budgets(folder):
    """What ranks choose whose clocks differ: the first one's epochs are slower, the second one's explanations."""
    rank = int(os.environ["RANK"])
    clock, patch = Clock(), pytest.MonkeyPatch()
    with patch.context():
        clock.started(patch)
        slow = {"val_loader": loader(40, seed=1), "max_epochs": 2}
        ours = monitor(clock.explainer((0.15, 0.3)[rank]), num_images=32, max_overhead=0.05)
        train([ours, clock.training((20.0, 10.0)[rank])], Drifting, **slow)
        fixed = monitor(clock.explainer(0.0), num_images=ours.effort.num_images)
        train([fixed], Drifting, **slow)
    return {
        "effort": ours.effort,
        "overhead": [epoch["xai/overhead"] for epoch in ours.history],
        **{
            name: [
                {k: v for k, v in epoch.items() if k not in {"xai/seconds", "xai/overhead"}} for epoch in one.history
            ]
            for name, one in (("rows", ours), ("fixed", fixed))
        },
    }


def files(folder):
    """Which ranks write, and where."""
    writes = []
    patch = pytest.MonkeyPatch()
    write = numbers.write_file
    patch.setattr(numbers, "write_file", lambda path, content: (writes.append(str(path)), write(path, content)))
    with patch.context():
        train(
            [monitor(reports=[Scalars(), History(), Grid(num_images=2, cell_size=32)])],
            default_root_dir=folder / "files",
        )
    patch.undo()
    return {"writes": writes, "found": sorted(str(p.relative_to(folder)) for p in (folder / "files").rglob("*.*"))}


class Accurate(Drifting):
    """Logs an accuracy that ranks do not share."""

    def validation_step(self, batch, batch_idx, dataloader_idx=0):
        super().validation_step(batch, batch_idx)
        self.log("val_acc", float(self.global_rank), sync_dist=False)


def accuracy_told(folder):
    """What is noted on a rank, and which pictures it draws."""
    drawn = []
    patch = pytest.MonkeyPatch()
    patch.setattr(accuracy_alignment, "log_picture", lambda trainer, name, *args, **settings: drawn.append(name))
    ours = monitor(reports=AccuracyAlignment())
    with patch.context():
        train([ours], Accurate, default_root_dir=folder / "told")
    patch.undo()
    return {"drawn": drawn, "logged": ours.state_dict()["logged"]}


def resumed(folder):
    """The rows of a run that was interrupted after two epochs, and of one that was not."""
    settings = {"train_loader": loader(8), "val_loader": loader(7, seed=1)}
    whole = monitor()
    train([whole], Drifting, max_epochs=4, **settings)
    saving = ModelCheckpoint(folder / "resumed", filename="saved")
    train([monitor(), saving], Drifting, max_epochs=2, **settings)
    again = monitor()
    train([again], Drifting, max_epochs=4, ckpt_path=folder / "resumed" / "saved.ckpt", **settings)
    return {"whole": remembered(whole), "again": remembered(again)}


def raised(folder):
    """The errors that each rank ends with when `on_error` says so, and when the configuration is wrong."""
    found = {}
    for name, ours in {
        "raise": monitor(OnRank(1, 1), on_error="raise"),
        "untried": monitor(OnRank(1, 0), on_error="raise"),
        "layer": monitor(GradCAM("nowhere")),
    }.items():
        try:
            train([ours], num_sanity_val_steps=0 if name != "raise" else 2)
        except Exception as error:
            found[name] = f"{type(error).__name__}: {error}"
    return found


class Listening(Report):
    """Keeps what it is told of the whole validation."""

    wants_validation_logits = True

    def __init__(self):
        self.told = []

    def publish(self, epoch, run):
        self.told.append(run.validation)


class OfFailures(Report):
    """Keeps what it is told of the images that show most."""

    wants_validation_logits = True

    def __init__(self):
        self.told = []

    def num_failures(self):
        return 4

    def publish(self, epoch, run):
        self.told.append(run.failures[0])


def failures_shown(folder):
    """Which images a report of failures is told of, and the heat on each."""
    report = OfFailures()
    train([monitor(reports=report)], Drifting, val_loader=loader(12, seed=1), max_epochs=3)
    return [[(one.kind, one.candidate.key, one.heatmaps["grad_cam"]) for one in of_epoch] for of_epoch in report.told]


class BypassesOnRankOne(Drifting):
    def validation_step(self, batch, batch_idx, dataloader_idx=0):
        scores = self.forward if self.trainer.global_rank == 1 and not self.trainer.sanity_checking else self
        self.log("val_loss", scores(batch[0]).mean(), sync_dist=True)


def whole_validation(folder):
    """What a report is told of a validation's logits, and of one whose steps are heard on rank 0 only."""
    found = {}
    for name, make in {"heard": Drifting, "bypassed": BypassesOnRankOne}.items():
        report = Listening()
        ours = monitor(num_images=3, reports=report)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            run = train([ours], make, val_loader=loader(7, seed=1, batch_size=2), max_epochs=1)
        hooks = sum(len(module._forward_hooks) for module in run.module.modules())
        parts = [{i: (v.keys, v.labels, v.logits) for i, v in told.items()} for told in report.told]
        found[name] = {"told": parts, "said": told(caught), "hooks": hooks, "epochs": len(ours.history)}
    return found


class NormalizesOnRankOne(Drifting):
    def validation_step(self, batch, batch_idx, dataloader_idx=0):
        images = (batch[0] - 0.5) / 0.25 if self.trainer.global_rank == 1 else batch[0]
        self.log("val_loss", self(images).mean(), sync_dist=True)


def another_call_on_one_rank(folder):
    """The errors with which both ranks end when the step of one sends something else through the model."""
    found = {}
    for steps in (0, 2):
        try:
            train([monitor()], NormalizesOnRankOne, num_sanity_val_steps=steps)
        except Exception as error:
            found[steps] = f"{type(error).__name__}: {error}"
    return found


LAYOUTS = []


class Colour(Drifting):
    """Reads three channels, and notes the layout of what it gets in evaluation."""

    def __init__(self):
        super().__init__()
        self.net[0] = torch.nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, images):
        if not self.training and not torch.is_grad_enabled():
            LAYOUTS.append((len(images), images.is_contiguous()))
        return super().forward(images)


class ViewsOnRankOne(Colour):
    def forward(self, images):
        if self._trainer is not None and self.trainer.global_rank == 1:
            images.view(len(images), -1)
        return super().forward(images)


class ViewsOnRankZero(Colour):
    def forward(self, images):
        if self._trainer is not None and self.trainer.global_rank == 0:
            images.view(len(images), -1)
        return super().forward(images)


def layouts(folder):
    """Which layout the ranks use where one rank's model, or none, cannot read channels_last."""
    found = {}
    for name, make in {"both": Colour, "first_views": ViewsOnRankZero, "second_views": ViewsOnRankOne}.items():
        for steps in (0, 2):
            ours = monitor(metrics=[InsertionDeletion(4)])
            settings = {"train_loader": loader(8, change=coloured), "val_loader": loader(7, seed=1, change=coloured)}
            LAYOUTS.clear()
            run = train([ours], make, num_sanity_val_steps=steps, max_epochs=2, **settings)
            rows = [{key: value for key, value in row.items() if key != "xai/seconds"} for row in ours.history]
            chosen = ours._runs["fit"].channels_last
            found[name, steps] = {"chosen": chosen, "rows": rows, "forwards": list(LAYOUTS), "weights": run.state()}
    return found


class CrowdedOnRankOne(Drifting):
    """Has room for four images at a time on one rank, where a validation step has no more."""

    def forward(self, images):
        FORWARDS.append(len(images))
        if not self.training and len(images) > 4 and self._trainer is not None and self.trainer.global_rank == 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return super().forward(images)


class CrowdedInAnotherWay(CrowdedOnRankOne):
    """Beside that, another error on the other rank, in the first attempt."""

    def forward(self, images):
        if not self.training and len(images) > 4 and self.trainer.global_rank == 0:
            raise RuntimeError("something else")
        return super().forward(images)


FORWARDS = []


def short_of_memory(folder):
    """Values and images per forward where one rank has less room than the other, and where its GPU is played."""
    found = {}
    for name, make in {"roomy": Drifting, "crowded": CrowdedOnRankOne, "both": CrowdedInAnotherWay}.items():
        ours = monitor(metrics=[InsertionDeletion(4)], num_images=8)
        FORWARDS.clear()
        with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings(record=True) as caught:
            patch.setattr(run_state, "cheapest_on_cpu", lambda _: 8)  # as a validation batch has on a GPU
            warnings.simplefilter("always")
            train([ours], make, val_loader=loader(8, seed=1), num_sanity_val_steps=0)
        rows = [{key: value for key, value in row.items() if key != "xai/seconds"} for row in ours.history]
        room_left = ours._runs["fit"].most_that_fit
        said = [text for text in map(str, (one.message for one in caught)) if "room for" in text or "logs" in text]
        found[name] = {"rows": rows, "room": room_left, "forwards": list(FORWARDS), "said": said}
    return found


def chosen_size(folder):
    """What the ranks take where each has another room, and which of them was asked what is cheapest."""
    rank, asked = int(os.environ["RANK"]), []

    def cheapest(classifier, image, space):
        asked.append(space)
        return 16

    with pytest.MonkeyPatch.context() as patch:
        for module in (room, run_state):
            patch.setattr(module, "proven_room", lambda _: 5000 - 1000 * rank)
        patch.setattr(room, "cheapest_size", cheapest)
        ours = monitor(metrics=[InsertionDeletion(4)], num_images=8)
        train([ours], Drifting, val_loader=loader(8, seed=1))
    return {"grown": ours._runs["fit"].grown, "asked": asked, "rows": len(ours.history)}


def shortcut(folder):
    """The alarm of a run whose heat is beside the object, and what each rank tells of it."""
    ours = _shortcut.watching()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        _shortcut.run(ours, data=_shortcut.loader(count=13), epochs=4, logger=TensorBoardLogger(folder / "shortcut"))
    found = ours.history[-1].loaders[0]
    return {
        "values": _shortcut.values(ours),
        "alarms": ours.state_dict()["alarms"],
        "said": [text for text in told(caught) if "suspects" in text],
        "accuracy": found.accuracy,
        "shares": {area: rows.tolist() for area, rows in found.heat_shares["looks"].items()},
    }


def coloured(image):
    """Give an image three channels that differ."""
    return torch.cat([image, image.flip(-1), image.flip(-2)])


SITUATIONS = (
    weights,
    probes_and_values,
    agreement,
    decisions,
    joint,
    findings,
    budgets,
    one_rank_raises,
    one_rank_reads_nothing,
    forwards,
    annotations_on_one_rank,
    files,
    accuracy_told,
    resumed,
    raised,
    whole_validation,
    failures_shown,
    another_call_on_one_rank,
    layouts,
    short_of_memory,
    chosen_size,
    shortcut,
)


def main(folder: Path, *names: str):
    rank = os.environ["RANK"]
    torch.set_num_threads(1)
    _runs.QUIET.update(devices=int(os.environ["WORLD_SIZE"]), strategy="ddp")
    found = {one.__name__: one(folder) for one in SITUATIONS if not names or one.__name__ in names}
    torch.save(found, folder / f"found{rank}.pt")
    leave()


def leave():
    """Close the process group once all ranks are done; gloo's threads may abort a process that ends with them open."""
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
