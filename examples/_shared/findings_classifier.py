"""A network that says of each finding whether it is there; nothing in it knows that it will be explained."""

from typing import Any

import torch
from torch.nn import functional as F
from torchmetrics.classification import MultilabelAUROC

from .classifier import ImageClassifier, small_resnet


class FindingsClassifier(ImageClassifier):
    """Train on ``image`` and ``label``, a column per finding; log ``train_loss``, ``val_auroc`` and each finding's."""

    def __init__(self, classes: tuple[str, ...], lr: float = 2e-3) -> None:
        super().__init__(len(classes), lr, small_resnet(len(classes), num_channels=1))
        self.classes = classes
        self.auroc = MultilabelAUROC(len(classes), average="none")

    def training_step(self, batch: dict[str, Any]) -> torch.Tensor:
        loss = F.binary_cross_entropy_with_logits(self(batch["image"]), batch["label"])
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: dict[str, Any]) -> None:
        self.auroc.update(self(batch["image"]), batch["label"].int())

    def on_validation_epoch_end(self) -> None:
        of_findings = self.auroc.compute()
        self.auroc.reset()
        self.log("val_auroc", of_findings.mean(), prog_bar=True)
        self.log_dict({f"val_auroc_{name}": value for name, value in zip(self.classes, of_findings, strict=True)})
