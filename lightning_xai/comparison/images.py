"""The images of a comparison, in the order in which they were given, and the batches in which they are explained."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from lightning_xai._checks import check_name
from lightning_xai._registry import alias_of
from lightning_xai.comparison.models import imported
from lightning_xai.datasets.readers.image_folder import ImageFolder
from lightning_xai.probing.batches import SampleFromBatch, sample_from_batch
from lightning_xai.probing.probe import Probe, are_distributions, item_of
from lightning_xai.probing.processes import OneProcess, agreed_probe
from lightning_xai.probing.sample import Sample
from lightning_xai.probing.selection import ProbeSelection, identities_of

DataSource: TypeAlias = Any
"""A Sample, Dataset, loader, DataModule, the path of a folder of images, or a class path or function giving one."""

IMAGES_AT_ONCE = 32


@dataclass(frozen=True, eq=False)
class ComparedImages:
    """Images with what is known about them, on the CPU.

    Attributes:
        probe: The images.
    """

    probe: Probe

    def __len__(self) -> int:
        return len(self.probe)

    @cached_property
    def chunks(self) -> list[list[int]]:
        """Places of the images of each batch: of one size, and the same whoever computes them."""
        sizes = self.probe.places_by_size
        return [places[i : i + IMAGES_AT_ONCE] for places in sizes for i in range(0, len(places), IMAGES_AT_ONCE)]

    @property
    def num_values(self) -> int:
        """How many values all images have: channels × height × width of each."""
        return sum(item.image.numel() for item in self.probe.items)

    @property
    def is_multilabel(self) -> bool:
        """Whether labels say yes or no to each class by itself."""
        rows = [item.label for item in self.probe.items if item.label is not None and item.label.ndim == 1]
        return bool(rows) and not all(are_distributions(row[None]) for row in rows)

    @property
    def known(self) -> frozenset[str]:
        """What is annotated, in the words of `ExplanationMetric.needs`."""
        regions = any(item.regions for item in self.probe.items)
        return frozenset((["masks"] if self.probe.annotated else []) + (["regions"] if regions else []))

    def sample(self, chunk: list[int], device: torch.device) -> Sample:
        """Return the images at some places as one batch on a device."""
        return self.probe.sample(chunk, device)

    def in_order(self, parts: list[Tensor]) -> Tensor:
        """Return rows of the chunks, (n, ...) each of one or more of them, in the order of the images."""
        order = torch.tensor([place for chunk in self.chunks for place in chunk]).argsort()
        return torch.cat(parts)[order]


def data_by_name(data: DataSource | Mapping[str, DataSource]) -> dict[str, DataSource]:
    """Return sources of images by a name: the folder's, the class's, or the given one.

    A mapping is one of names, and a list is one of sources.

    Raises:
        ValueError: If there is none, or two have one name.
    """
    if isinstance(data, Mapping):
        named = {check_name(name, "data"): source for name, source in data.items()}
    else:
        named = {}
        for source in data if isinstance(data, (list, tuple)) else [data]:
            name = _name_of(source)
            if name in named:
                raise ValueError(f"Expected `data` with different names, but got two {name!r}. Pass a dict.")
            named[name] = source
    if not named:
        raise ValueError("Expected `data` to hold images, but got none.")
    return named


def images_of(source: DataSource, num_images: int | None = None, read: SampleFromBatch | None = None) -> ComparedImages:
    """Return the images of a source: all of them in order, or ``num_images`` chosen as the monitor chooses.

    Args:
        source: See `DataSource`.
        num_images: How many; classes take turns, equal images count once. All if None.
        read: Makes a `Sample` of a batch; by default the usual forms are known.

    Raises:
        ValueError: If there is no image, or a path leads to none.
        TypeError: If the source is none of the forms.
    """
    samples = _samples(_opened(source), read or sample_from_batch)
    if num_images is not None:
        selection = ProbeSelection(num_images)
        for sample in samples:
            selection.offer(sample)
        probe = agreed_probe(OneProcess(), selection, num_images, [])
    else:
        identities, items = [], []
        for sample in samples:
            identities += identities_of(sample)
            items += [item_of(sample, row) for row in range(len(sample.images))]
        probe = Probe(identities, items)
    if not len(probe):
        raise ValueError("Expected `data` to hold at least one image, but got none.")
    return ComparedImages(probe)


def _name_of(source: DataSource) -> str:
    if isinstance(source, (str, Path)):
        is_class = not Path(source).exists()
        return check_name(str(source).replace(":", ".").rpartition(".")[2] if is_class else Path(source).name, "data")
    if isinstance(source, DataLoader):
        return alias_of(type(source.dataset))
    return alias_of(type(source))


def _opened(source: DataSource) -> Any:
    """Return a sample, or what yields batches."""
    if isinstance(source, (str, Path)):
        source = ImageFolder(source) if Path(source).is_dir() else _from_path(str(source))
    elif callable(source) and not isinstance(source, Dataset):
        source = source()
    if hasattr(source, "val_dataloader"):
        source.prepare_data()
        source.setup("validate")
        return source.val_dataloader()
    return source


def _from_path(text: str) -> Any:
    if "." not in text or "/" in text:
        raise ValueError(f"Expected `data` to be a folder of images, or the path of a class, but there is no {text!r}.")
    return imported(text)()


def _samples(source: Any, read: SampleFromBatch) -> Iterator[Sample]:
    if isinstance(source, Sample):
        yield source
        return
    if isinstance(source, (list, tuple)) and all(isinstance(one, (DataLoader, Dataset)) for one in source):
        for one in source:
            yield from _samples(one, read)
        return
    for batch in _batches(source):
        sample = read(batch)
        if not isinstance(sample, Sample):
            raise TypeError(f"Expected `sample_from_batch` to return a Sample, but got {type(sample).__name__}.")
        yield sample


def _batches(source: Any) -> Iterable[Any]:
    if isinstance(source, Dataset) or (hasattr(source, "__getitem__") and hasattr(source, "__len__")):
        return _batches_of_dataset(source)
    if not hasattr(source, "__iter__"):
        raise TypeError(
            "Expected `data` to be a Sample, a dataset, a loader, a DataModule or a folder of images, but got "
            f"{type(source).__name__}."
        )
    batches: Iterable[Any] = source
    return batches


def _batches_of_dataset(dataset: Any) -> Iterator[Any]:
    """Yield batches of a dataset, of one image each where images do not fit together."""
    for items in DataLoader(dataset, batch_size=IMAGES_AT_ONCE, collate_fn=list):
        try:
            together = [default_collate(items)]
        except (RuntimeError, TypeError, ValueError):  # of several sizes
            together = [default_collate([item]) for item in items]
        yield from together
