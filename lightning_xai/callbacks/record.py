"""What the monitor remembers between validations of one fit (or one `trainer.validate`, or one `trainer.test`)."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from lightning_xai.callbacks.history import History
from lightning_xai.callbacks.probe import Identity, Probe, ProbeSelection
from lightning_xai.callbacks.sample import Sample

_VERSION = 1


@dataclass
class Record:
    """Probe per loader, history, and where in the schedule we are.

    Attributes:
        stage: ``"fit"``, ``"validate"`` or ``"test"``.
        directory: Where this run's files go.
        epoch_began: When the running training epoch began.
        probes: Loader's index -> probe.
        references: Loader's index -> images (R, C, H, W) for explainers that need some, on the CPU.
        history: One row per explained validation.
        last_values: Every promised key -> last good value, the worst until there is one.
        last_epoch: Last epoch that was explained.
        first: Whether no validation of this fit was explained (or tried) yet.
        num_loaders: How many loaders the running validation has.
        due: Whether the running validation is explained.
        selections: Loader's index -> selection that goes on in the running validation.
        samples: Loader's index -> first image that was last seen.
        chunk_size: Greatest first batch seen.
        tried: Whether one image went through every part, so that later errors are none of configuration.
        error: What went wrong in the running validation before it was explained.
        restored: Loader's index -> state of a probe that a resumed run looks for.
    """

    stage: str = "fit"
    directory: Path = field(default_factory=Path)
    epoch_began: float | None = None
    probes: dict[int, Probe] = field(default_factory=dict)
    references: dict[int, Tensor] = field(default_factory=dict)
    history: History = field(default_factory=History)
    last_values: dict[str, float] = field(default_factory=dict)
    last_epoch: int | None = None
    first: bool = True
    num_loaders: int = 1
    due: bool = False
    selections: dict[int, ProbeSelection] = field(default_factory=dict)
    samples: dict[int, Sample] = field(default_factory=dict)
    chunk_size: int = 1
    tried: bool = False
    error: Exception | None = None
    restored: dict[int, dict[str, Any]] = field(default_factory=dict)

    def begin(self, num_loaders: int, *, due: bool) -> None:
        """Start a validation."""
        self.num_loaders, self.due, self.error = num_loaders, due, None
        self.selections = {}

    def meet(self, loader: int, sample: Sample) -> None:
        """Note the first batch of a loader: one image, and its size."""
        self.samples[loader] = sample.first()
        self.chunk_size = max(self.chunk_size, len(sample.images))

    def selection(self, loader: int, num_images: int) -> ProbeSelection:
        """Return the selection of a loader that goes on."""
        if loader not in self.selections:
            self.selections[loader] = ProbeSelection(num_images, self.wanted(loader))
        return self.selections[loader]

    @property
    def loaders(self) -> list[int]:
        """Indices of the loaders, also of empty ones."""
        return list(range(self.num_loaders))

    def shown(self, loader: int) -> int | None:
        """Return the index of a loader as it stands in keys: None where it is the only one."""
        return loader if self.num_loaders > 1 else None

    @property
    def annotated(self) -> bool:
        """Whether the first image of some loader has masks or boxes."""
        return any(sample.annotated for sample in self.samples.values())

    def wanted(self, loader: int) -> list[Identity]:
        """Return the images of the restored probe that a loader is searched for."""
        state = self.restored.get(loader)
        return [] if state is None else list(zip(state["keys"], state["classes"], strict=True))

    def state(self) -> dict[str, Any]:
        """Return plain numbers, lists and tensors for a checkpoint."""
        probes = {loader: probe.state() for loader, probe in self.probes.items()} or self.restored
        return {
            "version": _VERSION,
            "probes": {str(loader): state for loader, state in probes.items()},
            "history": self.history.rows,
            "last_values": dict(self.last_values),
            "last_epoch": self.last_epoch,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue what a checkpoint holds; probes come back when their images are found again."""
        self.history = History(state.get("history", []))
        self.last_values = dict(state.get("last_values", {}))
        self.last_epoch = state.get("last_epoch")
        self.restored = {int(loader): probe for loader, probe in state.get("probes", {}).items()}

    def settle(self, loader: int, probe: Probe) -> bool:
        """Keep the probe of a loader; return False if a restored one was not found again."""
        state = self.restored.pop(loader, None)
        self.probes[loader] = probe
        if state is None:
            return True
        if list(zip(state["keys"], state["classes"], strict=True)) != probe.identities:
            return False
        probe.previous = dict(state["previous"])
        probe.previous_target = state["previous_target"]
        return True
