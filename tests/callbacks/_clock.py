"""A clock that only goes where a test says so: while batches are trained and images are explained."""

from __future__ import annotations

import lightning as L

from lightning_xai.callbacks.run import run_time
from lightning_xai.callbacks.steps import engine
from tests.callbacks._runs import Constant


class Clock:
    """Stands for `time.perf_counter`."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now

    def started(self, monkeypatch):
        """Let the package read this clock."""
        for module in (run_time, engine):
            monkeypatch.setattr(module, "perf_counter", self)
        return self

    def explainer(self, seconds):
        """Return an explainer that takes so long for an image."""

        def take(classifier, images):
            if not classifier.model.trainer.sanity_checking:
                self.now += seconds * len(images)

        return Constant(take)

    def training(self, seconds):
        """Return a callback that lets each training batch take so long."""

        class Slow(L.Callback):
            def on_train_batch_end(_, *args):
                self.now += seconds

        return Slow()
