"""A `ModelCheckpoint` of whichever Lightning is used, also one that is imported after the callback was made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lightning_xai._lightning import ModelCheckpoint, check_installed, loaded

if TYPE_CHECKING:
    from lightning_xai._lightning import LightningModule, Trainer


class LateModelCheckpoint(ModelCheckpoint):
    """A `ModelCheckpoint` that decides itself what to write and to remove.

    Args:
        **settings: Of `ModelCheckpoint`.
    """

    def __init__(self, **settings: Any) -> None:
        check_installed()
        self._settings, self._is_begun = settings, False
        self.monitor: str | None = settings["monitor"]
        self._begin()

    def _begin(self) -> None:
        """Let Lightning's own constructor do its work, once a package is imported."""
        if not self._is_begun and loaded("callbacks.ModelCheckpoint"):
            super().__init__(**self._settings)
            self._is_begun = True

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Find the folder; in a fit, take the first place among the checkpoints, whose files then know of ours."""
        self._begin()
        super().setup(trainer, pl_module, stage)  # type: ignore[arg-type]
        if stage == "fit":
            others = [one for one in trainer.callbacks if one is not self]  # type: ignore[union-attr]
            checkpoints = [i for i, one in enumerate(others) if isinstance(one, loaded("callbacks.Checkpoint"))]
            place = min(checkpoints, default=len(others))
            trainer.callbacks = [*others[:place], self, *others[place:]]  # type: ignore[union-attr]

    def _rests(self, trainer: Any) -> bool:
        return bool(trainer.fast_dev_run) or trainer.state.fn != "fit" or trainer.sanity_checking

    def _new_path(self, trainer: Any, metrics: dict[str, Any], kept: set[str] | None) -> str:
        """Return the name of a new file: one that does not exist, or may be written over, being none of the kept."""
        metrics = metrics | self._monitor_candidates(trainer)
        plain = self.format_checkpoint_name(dict(metrics))
        is_free = kept is not None and plain not in kept
        return self._get_metric_interpolated_filepath_name(metrics, trainer, plain if is_free else None)

    def _remove(self, trainer: Any, path: str) -> None:
        if self._should_remove_checkpoint(trainer, path, ""):
            self._remove_checkpoint(trainer, path)
