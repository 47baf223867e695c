"""An ordinary LightningModule. Nothing in it knows that it will be explained."""

from typing import Any

import lightning as L
import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Residual(nn.Module):
    """Two convolutions beside a projection; the first may halve the resolution."""

    def __init__(self, channels_in: int, channels_out: int, stride: int = 1) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels_in, channels_out, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(channels_out),
            nn.ReLU(),
            nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels_out),
        )
        self.projection = nn.Sequential(
            nn.Conv2d(channels_in, channels_out, 1, stride, bias=False), nn.BatchNorm2d(channels_out)
        )

    def forward(self, features: Tensor) -> Tensor:
        return F.relu(self.body(features) + self.projection(features))


def small_resnet(num_classes: int, num_channels: int = 3) -> nn.Sequential:
    """Return a residual network of 0.15 million weights that sees 64×64 images as 16×16 features."""
    stem = (nn.Conv2d(num_channels, 16, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
    blocks = (Residual(16, 32, stride=2), Residual(32, 64), Residual(64, 64))
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, num_classes))


class ImageClassifier(L.LightningModule):
    """Train ``net``, or a small residual network, on ``image`` and ``label``; log ``train_loss``, ``val_accuracy``."""

    def __init__(self, num_classes: int, lr: float = 1e-3, net: nn.Module | None = None) -> None:
        super().__init__()
        self.net = small_resnet(num_classes) if net is None else net
        self.lr = lr

    def forward(self, images: Tensor) -> Tensor:
        return self.net(images)

    def training_step(self, batch: dict[str, Tensor]) -> Tensor:
        loss = F.cross_entropy(self(batch["image"]), batch["label"])
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: dict[str, Tensor]) -> None:
        correct = self(batch["image"]).argmax(1) == batch["label"]
        self.log("val_accuracy", correct.float().mean(), batch_size=len(correct), prog_bar=True)

    def configure_optimizers(self) -> dict[str, Any]:
        optimizer = torch.optim.AdamW(self.parameters(), lr=self.lr, weight_decay=0.05)
        num_steps = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, num_steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
