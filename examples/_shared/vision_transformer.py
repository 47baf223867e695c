"""A vision transformer that learns within a minute: convolutions make its tokens, torch's own encoder does the rest."""

import torch
from torch import Tensor, nn

WIDTH, DEPTH, HEADS, PATCH = 64, 3, 4, 8


class SmallViT(nn.Module):
    """A class token and one token per 8×8 pixels; three blocks of global attention, 0.14 million weights."""

    def __init__(self, num_classes: int, image_size: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            *(nn.Conv2d(3, WIDTH // 4, 3, stride=2, padding=1), nn.BatchNorm2d(WIDTH // 4), nn.ReLU()),
            *(nn.Conv2d(WIDTH // 4, WIDTH // 2, 3, stride=2, padding=1), nn.BatchNorm2d(WIDTH // 2), nn.ReLU()),
            nn.Conv2d(WIDTH // 2, WIDTH, 3, stride=2, padding=1),
        )
        self.class_token = nn.Parameter(torch.zeros(1, 1, WIDTH))
        self.position = nn.Parameter(0.02 * torch.randn(1, 1 + (image_size // PATCH) ** 2, WIDTH))
        block = nn.TransformerEncoderLayer(
            WIDTH, HEADS, 2 * WIDTH, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(block, DEPTH, nn.LayerNorm(WIDTH), enable_nested_tensor=False)
        self.head = nn.Linear(WIDTH, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        patches = self.stem(images).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.class_token.expand(len(images), -1, -1), patches], 1) + self.position
        return self.head(self.encoder(tokens)[:, 0])
