"""Train a network as its recipe says, with a Lightning Trainer."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from lightning_xai._lightning import lightning_package
from lightning_xai.comparison.models import instantiated
from lightning_xai.studies.training.recipe import Recipe
from lightning_xai.studies.training.scores import pair_of


def fit(network: nn.Module, recipe: Recipe, keep: Callable[[int], None]) -> int:
    """Train a network in place, and call ``keep`` after each epoch of the recipe that is reached, and after the last.

    Returns:
        The last epoch, from 1: that of the recipe, or the one after which its patience was at an end.
    """
    package = lightning_package()
    data: Any = instantiated(dict(recipe.train or {}))
    labels = labels_of(data)
    if recipe.permuted_labels:
        labels = labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(recipe.seed))]
    stops = [] if recipe.patience is None else [_stopping(recipe)]
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices), tempfile.TemporaryDirectory() as folder, _quiet(package):
        torch.manual_seed(recipe.seed)
        trainer = package.Trainer(
            max_epochs=recipe.epochs[-1],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            default_root_dir=folder,
            devices=1,
            callbacks=[*stops, _keeping(package, recipe, keep)],
        )
        images = DataLoader(_Relabelled(data, labels), recipe.batch_size, shuffle=True)
        held_out = None if recipe.validation is None else instantiated(dict(recipe.validation))
        validation = None if held_out is None else DataLoader(held_out, 2 * recipe.batch_size)
        trainer.fit(_learner(package, network, recipe, labels), images, validation)
    network.cpu()
    return int(trainer.current_epoch)


@contextmanager
def _quiet(package: Any) -> Iterator[None]:
    """Silence what a Trainer says about devices and the end of training."""
    log = logging.getLogger(package.__name__)
    level = log.level
    log.setLevel(logging.WARNING)
    try:
        yield
    finally:
        log.setLevel(level)


def labels_of(data: Any) -> Tensor:
    """Return the label of every image of a dataset, int64 (N,); from its ``labels`` if it has them."""
    known = getattr(data, "labels", None)
    if isinstance(known, Tensor):
        return known.long()
    return torch.tensor([int(pair_of(data[place])[1]) for place in range(len(data))])


def class_weights(labels: Tensor, num_classes: int) -> Tensor:
    """Return N / (C · N_c) for each class c, (C,); 0 for a class without images.

    Example:
        >>> class_weights(torch.tensor([0, 0, 0, 1]), 2)
        tensor([0.6667, 2.0000])
    """
    counts = torch.bincount(labels, minlength=num_classes).float()
    return torch.where(counts > 0, len(labels) / (num_classes * counts.clamp(min=1)), 0.0)


class _Relabelled(Dataset[tuple[Tensor, Tensor]]):
    """Images of a dataset with labels of ours."""

    def __init__(self, data: Any, labels: Tensor) -> None:
        self._data, self._labels = data, labels

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return pair_of(self._data[index])[0], self._labels[index]


def _learner(package: Any, network: nn.Module, recipe: Recipe, labels: Tensor) -> Any:
    """Return the LightningModule that trains a network."""
    augment: Any = None if recipe.augment is None else instantiated(dict(recipe.augment))

    class Learner(package.LightningModule):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def training_step(self, batch: Any) -> Tensor:
            images, truth = batch
            logits = network(images if augment is None else augment(images))
            weight = class_weights(labels, logits.shape[1]).to(logits) if recipe.class_weights else None
            return F.cross_entropy(logits, truth, weight=weight)

        def configure_optimizers(self) -> Any:
            return _optimizer(network, recipe)

    class ValidatedLearner(Learner):
        def __init__(self) -> None:
            super().__init__()
            self.answers: list[tuple[Tensor, Tensor]] = []

        def validation_step(self, batch: Any) -> None:
            images, truth = pair_of(batch)
            logits = network(images)
            self.log("val_loss", F.cross_entropy(logits, truth), batch_size=len(truth))
            self.answers.append((logits.argmax(1).cpu(), truth.cpu()))

        def on_validation_epoch_end(self) -> None:
            predicted, truth = (torch.cat(parts) for parts in zip(*self.answers, strict=True))
            self.answers.clear()
            self.log("val_recall", mean_recall(predicted, truth, recipe.recall_of))

    return Learner() if recipe.validation is None else ValidatedLearner()


def mean_recall(predicted: Tensor, labels: Tensor, classes: tuple[int, ...] = ()) -> float:
    """Return the mean recall in [0, 1] of some classes, of all that have images if none is named."""
    chosen = classes or tuple(sorted(set(labels.tolist())))
    recalls = [(predicted[labels == one] == one).float().mean() for one in chosen if bool((labels == one).any())]
    return float(torch.stack(recalls).mean())


def _optimizer(network: nn.Module, recipe: Recipe) -> Any:
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(not name.startswith(recipe.frozen) if recipe.frozen else True)
    kinds = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}
    settings: dict[str, Any] = {"lr": recipe.learning_rate, "weight_decay": recipe.weight_decay}
    settings |= {"momentum": 0.9} if recipe.optimizer == "sgd" else {}
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimizer = kinds[recipe.optimizer](trained, **settings)
    if recipe.schedule == "constant":
        return optimizer
    schedulers = torch.optim.lr_scheduler
    if recipe.schedule == "step":
        return [optimizer], [schedulers.StepLR(optimizer, recipe.decay_every, recipe.decay)]
    return [optimizer], [schedulers.CosineAnnealingLR(optimizer, recipe.epochs[-1])]


def _keeping(package: Any, recipe: Recipe, keep: Callable[[int], None]) -> Any:
    """Return the callback that keeps the network after the epochs of a recipe, and after the last."""

    class Keeping(package.Callback):  # type: ignore[misc]
        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:  # noqa: ARG002
            epoch = trainer.current_epoch + 1
            if epoch in recipe.epochs or trainer.should_stop:
                keep(epoch)

    return Keeping()


def _stopping(recipe: Recipe) -> Any:
    """Return the callback that stops when neither the loss falls nor the recall rises."""
    from lightning_xai.callbacks.joint_early_stopping import JointEarlyStopping

    return JointEarlyStopping({"val_loss": "min", "val_recall": "max"}, patience=recipe.patience or 1)
