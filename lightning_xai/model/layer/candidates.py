"""Which tensors could be the target layer: on every path from the image to the logits, with space, the last first."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from lightning_xai.model.layer.forward_graph import AttentionCall, ForwardGraph, ModuleCall
from lightning_xai.model.layer.points import CapturePoint, LayerInput, LayerOutput, OperationInput, OperationOutput
from lightning_xai.model.layer.spatial_tensors import MOVING, spatial_grids

_SELECTING = {
    "__getitem__", "select", "narrow", "split", "chunk", "unbind", "index_select", "gather", "take_along_dim",
    "tensor_split", "split_with_sizes",
}  # fmt: skip


@dataclass(frozen=True)
class Candidate:
    """A tensor that could be the target layer.

    Attributes:
        point: Where it is captured.
        grid: Its places (h, w).
        share_after: Of the weighed operations on whole maps, how many come after it, in [0, 1].
        around: Where tokens that have no place, such as a class token, go round it, in a residual sum; else None.
    """

    point: CapturePoint
    grid: tuple[int, int]
    share_after: float
    around: CapturePoint | None = None


class Candidates:
    """Read them from the graph of a forward pass.

    They have space, as `spatial_grids` says, every path from the images to the logits comes past them, and they are
    not what an attention makes of its input: heads, keys, values.

    Args:
        graph: What `ForwardGraph` saw.
        last: Index of the logits.
        image_size: (H, W).
    """

    def __init__(self, graph: ForwardGraph, last: int, image_size: tuple[int, int]) -> None:
        self._graph, self._last = graph, last
        self._readers = graph.readers(last)
        self._grids = spatial_grids(graph, image_size)
        self._attentions = [a for a in graph.attentions if any(m.first in self._readers for m in a.modules)]
        on_every_path = graph.on_every_path(last)
        self._on_every_path = [i for i in on_every_path if i in self._grids and not self._is_attending(i)]
        self._images = [i for i in on_every_path if not graph.tensors[i].learned and len(graph.tensors[i].shape) == 4]

    def __iter__(self) -> Iterator[Candidate]:
        """Yield them, the last first.

        Where the network reads nothing but a class token of the last, that is the input of the last attention, by which
        the other places get there, and what comes before it. If nothing is computed by layers, it is the images
        themselves, where a module returned them.
        """
        if not self._on_every_path:
            yield from self._of_images()
        end = len(self._graph.tensors)
        if self._on_every_path and self._selects_only(self._on_every_path[-1]):
            end = self._on_every_path[-1]
            if self._attentions:
                end = self._attentions[-1].moment
                module = self._attending(self._attentions[-1])
                if module is not None:
                    yield self._attended(module, end)
        for index in reversed([i for i in self._on_every_path if i < end]):
            point = self._place(index)
            if point is not None:
                yield Candidate(point, self._grids[index], self._share_of_layers(range(index + 1, self._last + 1)))

    def _of_images(self) -> Iterator[Candidate]:
        for index in reversed(self._images):
            name = self._graph.returned_by.get(index) or self._graph.passed_by.get(index)
            _, _, height, width = self._graph.tensors[index].shape
            if name is not None and height * width > 1:
                yield Candidate(LayerOutput(name), (height, width), 0.0)

    def _attended(self, module: ModuleCall, moment: int) -> Candidate:
        """Return what enters the module of an attention; later layers compute, in effect, one token."""
        index, before = _first(module), [i for i in self._on_every_path if i <= _first(module)]
        point = LayerOutput(self._graph.returned_by[index]) if index in self._graph.returned_by else None
        tokens, (height, width) = self._graph.tensors[index].shape[1], self._grids[index]
        around = self._place(before[-1]) if before and before[-1] != index and tokens > height * width else None
        share = self._share_of_layers(range(index + 1, moment + 1))
        return Candidate(point or LayerInput(module.name), self._grids[index], share, around)

    def _share_of_layers(self, indices: range) -> float:
        weighed = [i for i in self._readers if self._graph.tensors[i].weighed and self._reads_maps(i)]
        return sum(i in indices for i in weighed) / max(len(weighed), 1)

    def _reads_maps(self, index: int) -> bool:
        """Return whether a weighed operation has more to do than one vector per image."""
        shapes = [self._graph.tensors[source].shape for source in self._graph.tensors[index].sources]
        return any(len(s) > 2 and math.prod(s) > s[0] * max(s[1], s[-1]) for s in shapes)

    def _place(self, index: int) -> CapturePoint | None:
        """Return the module that returned the tensor, else the one operation that reads it, else what computed it."""
        tensor = self._graph.tensors[index]
        if index in self._graph.returned_by:
            return LayerOutput(self._graph.returned_by[index])
        readers = [self._graph.tensors[reader] for reader in self._readers.get(index, [])]
        if len({(reader.operation, reader.call) for reader in readers}) == 1:
            (reader, *_) = readers
            if reader.first == index and reader.operation:
                return OperationInput(reader.operation, reader.call)
        return OperationOutput(tensor.operation, tensor.call) if tensor.alone else None

    def _attending(self, attention: AttentionCall) -> ModuleCall | None:
        """Return the innermost module around one attention that tokens enter.

        Deeper modules may see them split into heads. A module that runs several attentions is none of theirs.
        """
        earlier = max((one.moment for one in self._attentions if one.moment < attention.moment), default=0)
        own = [m for m in attention.modules if m.entered >= earlier and m.first is not None and m.first in self._grids]
        tokens = [module for module in own if len(self._graph.tensors[_first(module)].shape) == 3]
        return next(iter(tokens + own), None)

    def _is_attending(self, index: int) -> bool:
        """Return whether a tensor is what an attention makes of its input, and not what it returns."""
        modules = filter(None, map(self._attending, self._attentions))
        return any(m.entered <= index < m.left and self._graph.returned_by.get(index) != m.name for m in modules)

    def _selects_only(self, index: int) -> bool:
        """Return whether all that is read of a tensor is a part of it without places, as its class token."""
        readers = self._readers.get(index, [])
        return bool(readers) and all(
            reader not in self._grids
            and (self._selects(reader) or (self._moves(reader) and self._selects_only(reader)))
            for reader in readers
        )

    def _selects(self, index: int) -> bool:
        return self._graph.tensors[index].operation in _SELECTING

    def _moves(self, index: int) -> bool:
        return self._graph.tensors[index].operation in MOVING


def _first(module: ModuleCall) -> int:
    return -1 if module.first is None else module.first
