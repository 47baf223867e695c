"""A user's model as a plain module that returns logits, for methods that want one and hook its layers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn

from lightning_xai.model.classifier import Classifier
from lightning_xai.model.preserve import preserved


class LogitsModule(nn.Module):
    """Return float32 logits (N, K) through a classifier: counted, in its precision, the caller's images untouched.

    The user's model is the child ``model``, so that what walks over modules finds its layers.
    """

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        self.model = classifier.model
        self.training = False
        self._classifier = classifier

    def forward(self, images: Tensor, owners: Tensor | None = None) -> Tensor:
        """Return the logits of ``images`` (N, C, H, W), in the current gradient mode.

        Args:
            images: Those of the classifier's batch, or made of them.
            owners: Which image of the batch each is made of, int64 (N,); these in order if None.
        """
        classifier = self._classifier if owners is None else self._classifier.rows(owners.reshape(-1))
        return classifier.forward(images.clone())


@contextmanager
def as_module(classifier: Classifier) -> Iterator[LogitsModule]:
    """Lend the classifier's model to a method that hooks modules and leaves attributes on them.

    Meanwhile no layer works in place, because hooks on one that does see a tensor that has changed. Afterwards each
    module has the attributes that it had, on top of what `preserved` restores.

    Example:
        >>> import torch
        >>> with as_module(Classifier(nn.Sequential(nn.Flatten(), nn.ReLU(inplace=True)))) as module:
        ...     module.model[1].inplace, module(torch.tensor([[[[2.0, -3.0]]]]))
        (False, tensor([[2., 0.]]))
    """
    with preserved(classifier.model):
        modules = list(classifier.model.modules())
        saved = [(vars(module), dict(vars(module))) for module in modules]
        for attributes, originals in saved:
            if originals.get("inplace") is True:
                attributes["inplace"] = False
        try:
            yield LogitsModule(classifier)
        finally:
            for attributes, originals in saved:
                for name in attributes.keys() - originals.keys():
                    del attributes[name]
                attributes.update(originals)
