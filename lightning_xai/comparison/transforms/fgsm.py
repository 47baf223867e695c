"""Images after one step of an attack."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch

from lightning_xai._checks import check_at_least, check_choice
from lightning_xai.comparison.transforms.surroundings import Surroundings
from lightning_xai.comparison.transforms.transform import Transform, with_images
from lightning_xai.evidence.neighbours.adversarial_neighbour import attacked_images
from lightning_xai.probing.sample import Sample


class FGSM(Transform):
    """Attack the model by the fast gradient sign method: ``x + ε · sign(∂ loss / ∂x)``, kept in the range of the data.

    The loss is the cross-entropy of a class; its sign is that of the negative log-odds, which do not vanish where the
    model is sure. The images are attacked for each model by itself. Values beyond the least or greatest value that a
    channel has anywhere in the data are set to that. Costs two evaluations per image.

    Source: Goodfellow, Shlens and Szegedy, "Explaining and Harnessing Adversarial Examples", ICLR 2015,
    https://arxiv.org/abs/1412.6572.

    Args:
        epsilon: Length of the step in every value, as a share of the range of the data's values.
        against: Which class loses: the ``"label"`` (the predicted one of images that have none), or the ``"predicted"``
            one. Whatever class is explained, the images are the same.
        absolute: Whether ``epsilon`` is in the units of the images instead.

    Raises:
        TypeError: If ``epsilon`` is no number.
        ValueError: If a setting is out of range, or the data have no labels to attack.

    Example:
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(2, 2, bias=False))
        >>> net[1].weight.data = torch.tensor([[1.0, -1.0], [0.0, 0.0]])
        >>> images = torch.tensor([[[[0.5, 0.5]]], [[[0.0, 1.0]]]])
        >>> FGSM(0.25)(Sample(images, labels=torch.tensor([0, 0])), net).images.flatten(1)
        tensor([[0.2500, 0.7500],
                [0.0000, 1.0000]])
    """

    needs_model: ClassVar[bool] = True

    def __init__(
        self, epsilon: float = 2 / 255, against: Literal["label", "predicted"] = "label", absolute: bool = False
    ) -> None:
        check_at_least(epsilon, 0.0, "epsilon", strict=True)
        check_choice(against, ("label", "predicted"), "against")
        self.epsilon = epsilon
        self.against: Literal["label", "predicted"] = against
        self.absolute = absolute

    @property
    def evaluations(self) -> int:
        """The image, and its gradient."""
        return 2

    def change(self, sample: Sample, surroundings: Surroundings) -> Sample:
        """See `Transform`."""
        case = surroundings.case(sample, self.against)
        step = self.epsilon * case.noise_unit(absolute=self.absolute)
        parts = [
            attacked_images(case.classifier.rows(chunk), case.images[chunk], case.target[chunk].clone(), step[chunk])[0]
            for chunk in case.classifier.chunks(len(case))
        ]
        return with_images(sample, surroundings.clamped(torch.cat(parts)))
