"""How a network of a study is made and trained, as data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import product
from typing import Any, Literal

from lightning_xai._checks import check_at_least, check_choice, check_count
from lightning_xai.comparison.storage.fingerprint import fingerprint

_TRAINING_VERSION = 1  # raised when the same recipe would give another network

Source = Mapping[str, Any]
"""``{"class_path": ..., "init_args": {...}}``: an object that is made when it is needed."""


@dataclass(frozen=True)
class Recipe:
    """How a network is made and trained; equal recipes give equal networks on one kind of machine.

    Data yield dicts with ``image`` and ``label`` (whole numbers), or pairs of these.

    Attributes:
        network: What makes the module; its weights are drawn with the seed.
        train: The images that it learns from.
        test: The images on which its accuracy is told.
        epochs: After how many it is kept, rising; it is trained for the last. Empty: it is used as it is made.
        batch_size: Images per step.
        optimizer: ``"adam"``, ``"adamw"`` or ``"sgd"`` (momentum .9).
        learning_rate: Step size, at the beginning.
        weight_decay: Of the optimizer.
        schedule: Of the learning rate: ``"constant"``, ``"cosine"`` to zero, or ``"step"``: times ``decay`` after every
            ``decay_every`` epochs.
        decay: See there.
        decay_every: Likewise.
        class_weights: Whether rare classes weigh more in the loss: N / (C · N_c).
        augment: A function of a batch of images in training, such as a flip; None for none.
        frozen: Beginnings of names of parameters that are not trained.
        permuted_labels: Whether labels are shuffled before training (the data randomisation test).
        validation: Images that decide when to stop; None to train all epochs.
        patience: Epochs without a lower validation loss and without a higher mean recall after which training stops;
            needs ``validation``.
        recall_of: The classes of that mean recall; all if empty.
        seed: Of weights, order of images and augmentation.
    """

    network: Source
    train: Source | None = None
    test: Source | None = None
    epochs: tuple[int, ...] = ()
    batch_size: int = 128
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    schedule: Literal["constant", "cosine", "step"] = "constant"
    decay: float = 0.5
    decay_every: int = 1
    class_weights: bool = False
    augment: Source | None = None
    frozen: tuple[str, ...] = ()
    permuted_labels: bool = False
    validation: Source | None = None
    patience: int | None = None
    recall_of: tuple[int, ...] = field(default=())
    seed: int = 0

    def __post_init__(self) -> None:
        """Check what can be checked without data."""
        for name in ("epochs", "frozen", "recall_of"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        for epoch in self.epochs:
            check_count(epoch, "epochs")
        if list(self.epochs) != sorted(set(self.epochs)):
            raise ValueError(f"Expected `epochs` to rise, but got {list(self.epochs)}.")
        check_count(self.batch_size, "batch_size")
        check_choice(self.optimizer, ("adam", "adamw", "sgd"), "optimizer")
        check_choice(self.schedule, ("constant", "cosine", "step"), "schedule")
        check_at_least(self.decay, 0.0, "decay", strict=True)
        check_count(self.decay_every, "decay_every")
        check_at_least(self.learning_rate, 0.0, "learning_rate", strict=True)
        check_at_least(self.weight_decay, 0.0, "weight_decay")
        if self.epochs and self.train is None:
            raise ValueError("Expected `train` in a recipe with `epochs`, but got none.")
        if self.patience is not None:
            check_count(self.patience, "patience")
            if self.validation is None:
                raise ValueError("Expected `validation` in a recipe with `patience`, but got none.")

    @property
    def key(self) -> str:
        """The word by which the trained network is kept: it differs where a setting does."""
        return fingerprint("recipe", _TRAINING_VERSION, asdict(self))


def recipe_families(declared: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Recipe]]:
    """Return the recipes of a declaration by family and name.

    A recipe is a family of itself; one with ``vary``, a mapping of settings to lists of values, is a family of one
    recipe for each combination, such as ``vgg-32-0.001``.

    Raises:
        ValueError: If ``vary`` has a setting without values.

    Example:
        >>> loop = {"network": {"class_path": "torch.nn.Identity"}, "vary": {"batch_size": [32, 64]}}
        >>> list(recipe_families({"vgg": loop})["vgg"])
        ['vgg-32', 'vgg-64']
    """
    families = {}
    for name, one in declared.items():
        varied: Mapping[str, Sequence[Any]] = one.get("vary", {})
        if not all(varied.values()):
            raise ValueError(f"Expected `vary` of recipe {name!r} to list values of each setting, but got {varied}.")
        plain = {setting: value for setting, value in one.items() if setting != "vary"}
        families[name] = {
            "-".join((name, *map(str, values))): Recipe(**{**plain, **dict(zip(varied, values, strict=True))})
            for values in product(*varied.values())
        }
    return families
