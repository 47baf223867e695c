"""How many files of the package a reader passes: `python -m benchmarks.modules`.

Counted are the modules in which at least one function runs during a second, warm call for the same model: of
`GradCAM()` alone, and of a fit of one batch with the monitor and one metric up to an early stopping: that reports
nothing but the value, then with the shortcut alarm, then with every default report. What a first call runs beside (the
search for the layer, which each model needs once) is named after it.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import nn

import lightning_xai

PACKAGE = Path(lightning_xai.__file__).parent


def executed(call: Callable[[], object]) -> list[str]:
    """Return the modules of the package in which a function runs during ``call``, as paths below the package."""
    seen: set[str] = set()

    def note(frame: FrameType, event: str, _: Any) -> None:
        if event == "call":
            seen.add(frame.f_code.co_filename)

    sys.setprofile(note)
    try:
        call()
    finally:
        sys.setprofile(None)
    return sorted(str(Path(name).relative_to(PACKAGE)) for name in seen if Path(name).is_relative_to(PACKAGE))


def network() -> nn.Module:
    """Return a small CNN."""
    last = nn.Linear(4, 2)
    nn.init.constant_(last.bias, -2.0)  # so that nobody takes logits for probabilities
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), last)


def lightning_module() -> Any:
    """Return the small CNN as a user trains it."""
    import lightning as L

    class Module(L.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = network()

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.net(images)

        def training_step(self, batch: Any) -> torch.Tensor:
            return nn.functional.cross_entropy(self(batch[0]), batch[1])

        def validation_step(self, batch: Any) -> None:
            self.log("val_loss", self.training_step(batch))

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), 0.1)

    return Module()


def explain(net: nn.Module) -> None:
    """Explain two images by Grad-CAM."""
    lightning_xai.GradCAM()(net, torch.rand(2, 1, 12, 12), 1)


def fit(module: Any, **settings: Any) -> None:
    """Train on one batch, explain after it, and let an early stopping read the score; settings are the monitor's."""
    import lightning as L
    from lightning.pytorch.callbacks import EarlyStopping
    from torch.utils.data import DataLoader, TensorDataset

    data = DataLoader(TensorDataset(torch.rand(4, 1, 12, 12), torch.tensor([0, 1, 0, 1])), batch_size=4)
    with tempfile.TemporaryDirectory() as folder:
        trainer = L.Trainer(
            max_epochs=1,
            callbacks=[
                lightning_xai.ExplanationMonitor(metrics="insertion_deletion", **settings),
                EarlyStopping("xai/faithfulness", mode="max"),
            ],
            default_root_dir=folder,
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(module, data, data)


def main() -> None:
    alone = {"reports": lightning_xai.Scalars()}
    calls: list[tuple[str, Callable[[Any], None], Callable[[], Any]]] = [
        ("GradCAM()", explain, network),
        ("a fit with one metric", partial(fit, shortcut_alarm=False, **alone), lightning_module),
        ("and with the shortcut alarm", partial(fit, **alone), lightning_module),
        ("and with all default reports", fit, lightning_module),
    ]
    known: set[str] = set()
    for name, call, make in calls:
        call(make())  # what is imported and registered once
        model = make()
        first, second = executed(partial(call, model)), executed(partial(call, model))
        print(f"{name}: {len(second)} modules, of which these are new", *sorted({*second} - known), sep="\n  ")
        once = sorted({*first} - {*second} - known)
        print(f"once per model: {len(once)}", *once, sep="\n  ")
        known |= {*first, *second}


if __name__ == "__main__":
    main()
