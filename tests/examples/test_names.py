"""A script hides a package of its own name from all that it imports: Python looks in the script's folder first."""

import re
import sys
from importlib.metadata import distributions, packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("examples", "docs", "benchmarks", "parity")
# what users of these scripts have installed, or a package here imports where it is, beside what is installed now
COMMON = """
    accelerate albumentations attention captum cleanlab cv2 datasets diffusers evaluate fastai grad_cam
    gradcam imageio jax keras kornia lightly lime medmnist mlflow monai nibabel numpy open_clip optuna pandas
    peft pydicom pytorch_grad_cam pytorch_lightning quantus rasterio ray saliency segmentation_models_pytorch
    shap skimage sklearn tables tensorflow tifffile timm tokenizers torchcam torchgeo torchio torchmetrics
    torchvision tqdm transformers ultralytics vit_pytorch wandb xai zennit
"""


def taken():
    """Return the names under which something can be imported, or is installed."""
    installed = {re.sub(r"[-.]", "_", found.metadata["Name"]).lower() for found in distributions()}
    return (
        installed
        | {name.lower() for name in packages_distributions()}
        | set(sys.stdlib_module_names)
        | set(COMMON.split())
    )


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_script_has_the_name_of_a_package(folder):
    names = {path.stem.lower() for path in (ROOT / folder).iterdir() if path.suffix == ".py" or path.is_dir()}
    assert names
    assert not names & taken()


@pytest.mark.parametrize("name", ["transformers", "tables", "torch", "lightning", "pillow", "token", "quantus"])
def test_the_comparison_knows_what_is_installed_and_what_is_common(name):
    assert name in taken()
