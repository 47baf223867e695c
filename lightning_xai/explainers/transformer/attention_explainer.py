"""What explainers of transformers share: attention followed from the tokens that the head reads to the patches."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

from torch import Tensor

from lightning_xai.explainers.explainer import Explainer
from lightning_xai.model.attention.attention_maps import AttentionMaps, attention_maps, read_rows
from lightning_xai.model.classifier import Classifier


class AttentionExplainer(Explainer):
    """Explain by what the tokens that the head reads gather from the patches, block by block.

    A subclass overrides `relevance`: one matrix of tokens by tokens per image. The heatmap is its row that belongs to
    what the head reads, over the patches: the class token's, the mean of class and distillation token's, or, without a
    class token, the mean of all rows; see `read_rows`. Register tokens are dropped. Where a last attention pools the
    tokens, its queries take the place of that choice.

    Attributes:
        needs_gradients: Whether `relevance` needs gradients.

    Raises:
        ValueError: When called, if the model's blocks do not all attend over the tokens of one grid.
    """

    needs_gradients: ClassVar[bool]
    refuses = "CNNs, and transformers whose attention is windowed or whose tokens change (Swin, PVT, CaiT)"

    @abstractmethod
    def relevance(self, maps: AttentionMaps) -> Tensor:
        """Return how much each row of the last attention, the tokens or a pooling's queries, gathers, (n, rows, T)."""

    def explain(self, classifier: Classifier, images: Tensor, target: Tensor) -> Tensor:
        """Return maps (n, h, w) at the resolution of the patches."""
        maps = attention_maps(classifier, images, target, gradients=self.needs_gradients, what=type(self).__name__)
        rows = read_rows(classifier, images, maps).float()
        read = (rows[:, None] @ self.relevance(maps))[:, 0] / rows.sum(1, keepdim=True)
        height, width = maps.grid
        return read[:, -height * width :].reshape(len(read), height, width)
