"""Which tensors of a forward pass have space, and how their places are arranged."""

from __future__ import annotations

from typing import TypeAlias

import torch

from lightning_xai.model.layer.capture import feature_maps, is_in_proportion, token_grid
from lightning_xai.model.layer.forward_graph import ComputedTensor, ForwardGraph

Grids: TypeAlias = dict[int, tuple[int, int]]

TRANSPOSING = {"transpose", "permute", "swapaxes", "swapdims", "movedim", "moveaxis", "__get__"}
MOVING = TRANSPOSING | {
    "flatten", "unflatten", "reshape", "view", "reshape_as", "view_as", "contiguous", "squeeze", "unsqueeze", "clone",
}  # fmt: skip
"""Operations that arrange values anew."""
_REPEATING = {"interpolate", "upsample", "expand", "expand_as", "repeat", "repeat_interleave", "tile"}
_CHANNELS_FIRST = {"conv1d", "batch_norm", "group_norm", "instance_norm"}


def spatial_grids(graph: ForwardGraph, image_size: tuple[int, int]) -> Grids:
    """Return index -> (h, w) of the tensors of ``graph`` that have space, as `feature_maps` reads them.

    Their first axis is the images', the others are feature maps or tokens (N, T, C) that fill a grid. Left out are the
    images in other units or cut up, what an adaptive pooling or an interpolation made, whose places may repeat each
    other, tokens (N, C, T), and tokens that are nothing but feature maps in another arrangement.

    Args:
        graph: Of the forward pass.
        image_size: (H, W).
    """
    grids: Grids = {}
    channels_first: set[int] = set()
    for index, tensor in enumerate(graph.tensors):
        if len(tensor.shape) == 3 and _is_channels_first(tensor, graph, grids, channels_first):
            channels_first.add(index)
        elif tensor.learned and not _repeats(tensor) and not _rearranges_maps(tensor, graph, grids):
            grid = _grid(tensor, graph, grids, image_size)
            if grid is not None:
                grids[index] = grid
    return grids


def _grid(
    tensor: ComputedTensor, graph: ForwardGraph, grids: Grids, image_size: tuple[int, int]
) -> tuple[int, int] | None:
    shape = tensor.shape
    if shape[:1] != graph.tensors[0].shape[:1] or len(shape) not in (3, 4) or 0 in shape:
        return None
    if len(shape) == 3 and (shape[2] == 1 or token_grid(shape[1], image_size) is None):
        return None  # one value each is no token: a column with an axis too many, such as logits (N, 4, 1)
    height, width = feature_maps(torch.empty(shape, device="meta"), image_size).shape[2:]
    of_maps = len(shape) == 3 or _is_of_maps(tensor, graph, grids, is_in_proportion(height, width, image_size))
    return (height, width) if height * width > 1 and of_maps else None


def _is_of_maps(tensor: ComputedTensor, graph: ForwardGraph, grids: Grids, in_proportion: bool) -> bool:
    """Return whether four axes are those of feature maps, and not of an attention's heads."""
    if tensor.operation == "conv2d":
        return True
    if not tensor.operation:  # computed out of sight
        return in_proportion
    if tensor.operation not in MOVING and not tensor.weighed and any(source in grids for source in tensor.sources):
        return True
    return in_proportion and all(s in grids or len(graph.tensors[s].shape) != 4 for s in tensor.sources)


def _repeats(tensor: ComputedTensor) -> bool:
    return tensor.operation in _REPEATING or tensor.operation.startswith("adaptive_")


def _rearranges_maps(tensor: ComputedTensor, graph: ForwardGraph, grids: Grids) -> bool:
    """Return whether tokens are feature maps, flattened: these say better what their places are."""
    of_maps = any(source in grids and len(graph.tensors[source].shape) == 4 for source in tensor.sources)
    return len(tensor.shape) == 3 and tensor.operation in MOVING and of_maps


def _is_channels_first(tensor: ComputedTensor, graph: ForwardGraph, grids: Grids, known: set[int]) -> bool:
    """Return whether a tensor of three axes is (N, C, T), and not tokens (N, T, C)."""
    operation, shape = tensor.operation, tensor.shape
    if operation in _CHANNELS_FIRST or operation.endswith("pool1d"):
        return True
    source = graph.tensors[tensor.first or 0].shape
    if operation in MOVING and len(source) == 4:
        return tensor.first in grids and shape[1:] == (source[1], source[2] * source[3])
    if operation in MOVING and shape == (source[0], *source[:0:-1]):
        return (tensor.first in known) != (operation in TRANSPOSING)
    kept = 2 if tensor.weighed else 3  # a linear layer keeps all axes but the last
    return any(source in known and graph.tensors[source].shape[:kept] == shape[:kept] for source in tensor.sources)
