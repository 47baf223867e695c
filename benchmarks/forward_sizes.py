"""What an image costs by how many go through a network together, and what is chosen on a CPU."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from benchmarks.result import Result
from benchmarks.setting import Setting, SmallCNN
from benchmarks.timing import Spread, in_turns
from lightning_xai.model.images_per_forward import cheapest_on_cpu

_SIZES = (1, 2, 4, 8, 16, 32)
_NETWORKS: dict[str, tuple[int, ...]] = {
    "small CNN": (32, 64, 112, 224, 512),
    "resnet18": (112, 224),
    "mobilenet_v3_small": (112, 224, 384),
    "efficientnet_b0": (224,),
}


def run(setting: Setting) -> Result:
    """Time forwards of 32 images without gradients, cut into equal parts, in turns."""
    result = Result(
        "Time of an image by how many go through a network together, as a share of that of the cheapest number",
        "what is chosen on a CPU within a quarter of the cheapest",
    )
    for name, sides in {"small CNN": (64,)}.items() if setting.quick else _NETWORKS.items():
        model = _built(name).eval().to(setting.device)
        for side in sides:
            result.add(network=name, side=side, **_row(setting, model, side))
    return result


def _row(setting: Setting, model: nn.Module, side: int) -> dict[str, object]:
    images = torch.randn(max(_SIZES), 3, side, side, generator=torch.Generator().manual_seed(0)).to(setting.device)
    runs = {size: partial(_forwards, model, images.split(size)) for size in _SIZES}
    runs[max(_SIZES)]()
    seconds = in_turns(runs, setting.size(cpu=3, gpu=11, quick=1), setting.device)
    spent = {size: Spread.of(found).median for size, found in seconds.items()}
    least, chosen = min(spent.values()), cheapest_on_cpu(side * side)
    on_cpu = {} if setting.on_gpu else {"chosen": chosen, "cost": spent[chosen] / least}
    met = {} if setting.on_gpu or setting.quick else {"met": spent[chosen] <= 1.25 * least}
    return {
        "ms_per_image": least / len(images) * 1e3,
        **{str(size): one / least for size, one in spent.items()},
        **on_cpu,
        **met,
    }


def _forwards(model: nn.Module, parts: tuple[Tensor, ...]) -> None:
    with torch.no_grad():
        for part in parts:
            model(part.contiguous(memory_format=torch.channels_last))


def _built(name: str) -> nn.Module:
    import torchvision

    torch.manual_seed(0)
    build: Callable[[], nn.Module] = SmallCNN if name == "small CNN" else getattr(torchvision.models, name)
    return build()
