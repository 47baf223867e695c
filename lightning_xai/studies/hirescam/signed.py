"""Images as the thesis gives them to its networks: with values from -1 to 1."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.utils.data import Dataset


class Signed(Dataset[dict[str, Any]]):
    """Another dataset's images x in [0, 1] as 2 x − 1, with everything else that it says of them.

    Args:
        data: Its items are dicts with ``image``.

    Attributes:
        labels: Those of ``data``; None if it does not have them at hand.

    Example:
        >>> import torch
        >>> Signed([{"image": torch.tensor([0.0, 0.5, 1.0]), "label": 3}])[0]
        {'image': tensor([-1.,  0.,  1.]), 'label': 3}
    """

    def __init__(self, data: Any) -> None:
        self.data = data
        self.labels: Tensor | None = getattr(data, "labels", None)

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> dict[str, Any]:
        item = self.data[index]
        return {**item, "image": 2.0 * item["image"] - 1.0}
