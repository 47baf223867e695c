"""Draw the masking curves of README.md and docs/metrics.md: ``python docs/pictures.py``, a minute on two cores."""

import sys
from pathlib import Path

import lightning as L
import torch
from torch.utils.data import default_collate

from lightning_xai import Case, GradCAM, MaskingCurve, RandomHeatmap, ShapesDataset
from lightning_xai.visualization import plot_masking_curve

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "examples"))

from _shared.classifier import ImageClassifier  # noqa: E402
from _shared.comparison import fit_quietly  # noqa: E402
from _shared.quiet import quiet_lightning  # noqa: E402

NUM_IMAGES = 32


def main() -> None:
    """Train the network of `make demo`, and draw insertion and deletion of Grad-CAM beside a random map."""
    quiet_lightning()
    L.seed_everything(0, verbose=False)
    train, validation = ShapesDataset(2048), ShapesDataset(512, seed=1)
    module = ImageClassifier(num_classes=len(train.classes))
    fit_quietly(module, train, validation, epochs=8)
    batch = default_collate([validation[index] for index in range(NUM_IMAGES)])
    grad_cam = Case(module, batch["image"], batch["label"], explainer=GradCAM())
    cases = {"Grad-CAM": grad_cam, "random": grad_cam.with_heatmaps(explainer=RandomHeatmap())}
    curves = [MaskingCurve("deletion"), MaskingCurve("insertion", "blur")]
    image = int(torch.argmax((batch["label"] == train.classes.index("cross")).int()))
    path = ROOT / "docs" / "images" / "masking_curve.png"
    plot_masking_curve(cases, curves, image=image).savefig(path, dpi=80)


if __name__ == "__main__":
    main()
