"""Which tensors could be the target layer: on every path from the image to the logits, with space, the last first."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from lightning_xai.model.layer.capture import CapturePoint, LayerInput, LayerOutput, OperationInput, OperationOutput
from lightning_xai.model.layer.feature_maps import feature_maps, is_in_proportion, token_grid
from lightning_xai.model.layer.forward_graph import AttentionCall, ComputedTensor, ForwardGraph, ModuleCall

_MOVING = {
    "flatten", "unflatten", "reshape", "view", "reshape_as", "view_as", "contiguous", "clone", "squeeze", "unsqueeze",
    "transpose", "permute", "swapaxes", "swapdims", "movedim", "moveaxis", "t", "__get__",
}  # fmt: skip
_SELECTING = {
    "__getitem__", "select", "narrow", "split", "chunk", "unbind", "index_select", "gather", "take_along_dim",
    "tensor_split", "split_with_sizes",
}  # fmt: skip
_RESIZING = {"interpolate", "upsample", "expand", "expand_as", "repeat", "repeat_interleave", "tile"}
_CHANNELS_FIRST = {"conv1d", "batch_norm", "group_norm", "instance_norm", "avg_pool1d", "max_pool1d", "lp_pool1d"}


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

    A tensor has space if its first axis is the images' and its others are feature maps or tokens that fill a grid, as
    `feature_maps` reads them. Left out are the images themselves in other units, what an adaptive pooling or an
    interpolation made (places that repeat each other), and what an attention makes of its input: heads, keys, values.

    Args:
        graph: What `ForwardGraph` saw.
        last: Index of the logits.
        image_size: (H, W).
    """

    def __init__(self, graph: ForwardGraph, last: int, image_size: tuple[int, int]) -> None:
        self._graph, self._last, self._size = graph, last, image_size
        self._readers = graph.readers(last)
        self._grids = self._all_grids()
        self._on_every_path = [i for i in graph.on_every_path(last) if i in self._grids and not self._is_attending(i)]

    def __iter__(self) -> Iterator[Candidate]:
        """Yield them, the last first.

        Where the network reads nothing but a class token of the last, that is the input of the last attention, by which
        the other places get there, and what comes before it.
        """
        latest = self._on_every_path[-1:]
        moment = len(self._graph.tensors)
        if latest and self._selects_only(latest[0]) and self._graph.attentions:
            attention = self._graph.attentions[-1]
            module = self._attending(attention)
            moment = attention.moment if module is None else module.entered
            if module is not None:
                yield self._attended(module)
        elif latest and self._selects_only(latest[0]):
            moment = latest[0]
        for index in reversed([i for i in self._on_every_path if i < moment]):
            point = self._place(index)
            if point is not None:
                yield self._candidate(index, point)

    def _attended(self, module: ModuleCall) -> Candidate:
        index, before = _first(module), [i for i in self._on_every_path if i <= _first(module)]
        point = LayerOutput(self._graph.returned_by[index]) if index in self._graph.returned_by else None
        tokens, (height, width) = self._graph.tensors[index].shape[1], self._grids[index]
        around = self._place(before[-1]) if before and before[-1] != index and tokens > height * width else None
        return self._candidate(index, point or LayerInput(module.name), around)

    def _candidate(self, index: int, point: CapturePoint, around: CapturePoint | None = None) -> Candidate:
        weighed = [i for i in self._readers if self._graph.tensors[i].weighed and self._reads_maps(i)]
        after = sum(i > index for i in weighed) / max(len(weighed), 1)
        return Candidate(point, self._grids[index], after, around)

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
        earlier = max((one.moment for one in self._graph.attentions if one.moment < attention.moment), default=0)
        own = [m for m in attention.modules if m.entered >= earlier and m.first is not None and m.first in self._grids]
        tokens = [module for module in own if len(self._graph.tensors[_first(module)].shape) == 3]
        return next(iter(tokens + own), None)

    def _is_attending(self, index: int) -> bool:
        """Return whether a tensor is what an attention makes of its input, and not what it returns."""
        modules = filter(None, map(self._attending, self._graph.attentions))
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
        return self._graph.tensors[index].operation in _MOVING

    def _all_grids(self) -> dict[int, tuple[int, int]]:
        """Return index -> (h, w) of all tensors that have space."""
        grids: dict[int, tuple[int, int]] = {}
        channels_first: set[int] = set()
        for index, tensor in enumerate(self._graph.tensors):
            if len(tensor.shape) == 3 and self._is_channels_first(tensor, channels_first, grids):
                channels_first.add(index)
            elif tensor.learned and not self._repeats(tensor):
                of_maps = any(s in grids and len(self._graph.tensors[s].shape) == 4 for s in tensor.sources)
                if len(tensor.shape) == 3 and tensor.operation in _MOVING and of_maps:
                    continue  # the feature maps themselves say better what their places are
                grid = self._grid(tensor, grids)
                if grid is not None:
                    grids[index] = grid
        return grids

    def _grid(self, tensor: ComputedTensor, grids: dict[int, tuple[int, int]]) -> tuple[int, int] | None:
        shape = tensor.shape
        if shape[:1] != self._graph.tensors[0].shape[:1] or len(shape) not in (3, 4):
            return None
        if len(shape) == 3 and token_grid(shape[1], self._size) is None:
            return None
        _, _, height, width = feature_maps(torch.empty(shape, device="meta"), self._size).shape
        if height * width <= 1:
            return None
        of_maps = tensor.operation == "conv2d" or (
            tensor.operation not in _MOVING and not tensor.weighed and any(s in grids for s in tensor.sources)
        )  # else four axes may be those of heads
        return (height, width) if len(shape) == 3 or of_maps or is_in_proportion(height, width, self._size) else None

    @staticmethod
    def _repeats(tensor: ComputedTensor) -> bool:
        return tensor.operation in _RESIZING or tensor.operation.startswith("adaptive_")

    def _is_channels_first(self, tensor: ComputedTensor, known: set[int], grids: dict[int, tuple[int, int]]) -> bool:
        """Return whether a tensor of three axes is (N, C, T), and not tokens (N, T, C)."""
        if tensor.operation in _CHANNELS_FIRST or tensor.operation.endswith("pool1d"):
            return True
        source = self._graph.tensors[tensor.first or 0].shape
        if tensor.operation in _MOVING and len(source) == 4:
            return tensor.first in grids and tensor.shape[1:] == (source[1], source[2] * source[3])
        if tensor.operation in _MOVING and tensor.shape == (source[0], *source[:0:-1]) and tensor.operation != "clone":
            return (tensor.first in known) != (tensor.operation in _TRANSPOSING)
        kept = 2 if tensor.weighed else 3  # a linear layer keeps all axes but the last
        return any(s in known and self._graph.tensors[s].shape[:kept] == tensor.shape[:kept] for s in tensor.sources)


_TRANSPOSING = {"transpose", "permute", "swapaxes", "swapdims", "movedim", "moveaxis", "__get__"}


def _first(module: ModuleCall) -> int:
    return -1 if module.first is None else module.first
