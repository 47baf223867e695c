"""Networks that are trained once and kept, whoever asks for them."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lightning_xai.comparison.models import instantiated
from lightning_xai.comparison.storage.lease import SECONDS, Leases
from lightning_xai.loggers.files import write_file
from lightning_xai.studies.training.fitting import fit
from lightning_xai.studies.training.recipe import Recipe
from lightning_xai.studies.training.scores import scores_of

_POLL = 0.5  # seconds between two looks at what others have trained
_KEEPING = 1  # raised when files of networks mean something else


@dataclass(frozen=True, eq=False)
class TrainedNetwork:
    """A network as it was after some epochs of a recipe.

    Attributes:
        state: Its weights.
        scores: On the recipe's test images; empty without these. See `scores_of`.
    """

    state: Mapping[str, Tensor]
    scores: Mapping[str, float]


class TrainedNetworks:
    """Trains networks by their recipes and keeps them, one file per recipe, named by what decides it.

    Several processes may share a folder: each trains what no other does.

    Args:
        folder: Of the files.
        lease: Seconds after which the work of a process that died is taken over.
        told: Called with a line before a network is trained.
    """

    def __init__(
        self, folder: str | Path, lease: float = SECONDS, told: Callable[[str], object] = lambda _: None
    ) -> None:
        self._folder = Path(folder)
        self._leases = Leases(self._folder / "claims", lease)
        self._told = told
        self._known: dict[str, dict[int, TrainedNetwork]] = {}

    def prepare(self, recipes: Mapping[str, Recipe]) -> None:
        """Train what is missing; return when all networks are there, whoever trained them.

        Args:
            recipes: Name, for what is told, -> recipe.
        """
        names = {recipe.key: name for name, recipe in recipes.items()}
        while left := self.left_of(recipes.values()):
            trained = 0
            for recipe in left:
                with self._leases.claimed(recipe.key) as is_ours:
                    if is_ours and self.left_of([recipe]):
                        self._told(f"training {names[recipe.key]}")
                        self._keep(recipe, trained_by(recipe))
                        trained += 1
            if not trained:
                time.sleep(_POLL)

    def left_of(self, recipes: Iterable[Recipe]) -> list[Recipe]:
        """Return the recipes whose networks are not there yet, each once."""
        by_key = {recipe.key: recipe for recipe in recipes}
        return [recipe for recipe in by_key.values() if not self._path(recipe).is_file()]

    def network(self, recipe: Recipe, epoch: int) -> nn.Module:
        """Return the network after an epoch of its recipe (0: as it is made), in evaluation mode.

        Raises:
            FileNotFoundError: If it was not trained: see `prepare`.
        """
        module = made_network(recipe)
        module.load_state_dict(dict(self._of(recipe)[epoch].state))
        return module.eval()

    def scores(self, recipe: Recipe, epoch: int) -> Mapping[str, float]:
        """Return the scores of a network on the test images of its recipe."""
        return self._of(recipe)[epoch].scores

    def _of(self, recipe: Recipe) -> dict[int, TrainedNetwork]:
        if recipe.key not in self._known:
            kept = torch.load(self._path(recipe), weights_only=True)
            self._known[recipe.key] = {epoch: TrainedNetwork(**one) for epoch, one in kept["networks"].items()}
        return self._known[recipe.key]

    def _keep(self, recipe: Recipe, networks: Mapping[int, TrainedNetwork]) -> None:
        content = io.BytesIO()
        plain = {epoch: {"state": dict(one.state), "scores": dict(one.scores)} for epoch, one in networks.items()}
        torch.save({"version": _KEEPING, "networks": plain}, content)
        write_file(self._path(recipe), content.getvalue())

    def _path(self, recipe: Recipe) -> Path:
        return self._folder / f"{recipe.key}.pt"


def made_network(recipe: Recipe) -> nn.Module:
    """Return the network of a recipe, untrained, with weights drawn by its seed; random state is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        module: nn.Module = instantiated(dict(recipe.network))
    if not isinstance(module, nn.Module):
        raise TypeError(f"Expected `network` of a recipe to make a torch.nn.Module, but got {type(module).__name__}.")
    return module


def trained_by(recipe: Recipe) -> dict[int, TrainedNetwork]:
    """Return the networks of a recipe by epoch; with the scores on its test images, if it has any."""
    module = made_network(recipe)
    test: Any = None if recipe.test is None else instantiated(dict(recipe.test))
    found: dict[int, TrainedNetwork] = {}

    def keep(epoch: int) -> None:
        scores = {} if test is None else scores_of(module, test)
        found[epoch] = TrainedNetwork({name: one.detach().clone() for name, one in module.state_dict().items()}, scores)

    if recipe.epochs:
        last = fit(module, recipe, keep)
        for epoch in recipe.epochs:  # stopped earlier: the network of that epoch is the one of the last
            found.setdefault(epoch, found[last])
    else:
        keep(0)
    return found
