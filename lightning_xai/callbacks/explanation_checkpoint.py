"""The checkpoint that is explained best among those that are equally accurate."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from lightning_utilities.core.rank_zero import rank_zero_info, rank_zero_warn

from lightning_xai._checks import check_choice, check_count
from lightning_xai._lightning import MisconfigurationException
from lightning_xai.callbacks.kept_checkpoints import KeptCheckpoints, scores_of
from lightning_xai.callbacks.late_model_checkpoint import LateModelCheckpoint
from lightning_xai.callbacks.readings import decides_at_epoch_end, explained_epochs, monitor_of, rows_behind
from lightning_xai.callbacks.validation_accuracy import ValidationAccuracy
from lightning_xai.probing.decisions.choosing import Candidate, Choice, Objectives, Rule, chosen
from lightning_xai.probing.decisions.paired import Mode, Monitored
from lightning_xai.probing.explained import ExplainedEpoch, moment_of

if TYPE_CHECKING:
    from lightning_xai._lightning import LightningModule, Trainer


class ExplanationCheckpoint(LateModelCheckpoint):
    """Keep the checkpoint that is explained best among those that are equally accurate.

    No explanation score may be maximised alone: it would choose networks that are worse at their task. Each explained
    validation is a candidate, with its accuracy and the scores of its images.

    - ``rule="best_explained"`` chooses the best explanation score among the checkpoints whose accuracy lies within one
      standard error of the best accuracy. Scores within one standard error of their paired difference are ties, and
      the more accurate wins.
    - ``rule="pareto"`` chooses likewise, and keeps every checkpoint that none beats in accuracy and all explanation
      scores.

    What may still become the best stays on disk, at most ``max_kept`` files, because a rising best accuracy can make an
    earlier one right; what is beaten is removed. ``best_model_path`` is the chosen file, ``reason`` says why, ``kept``
    lists the candidates. It needs an `ExplanationMonitor` in the same Trainer. After a change of the probe it starts
    anew, and earlier files stay.

    Args:
        monitor: A key of the monitor that has values per image; with ``"pareto"`` one or several.
        accuracy: Logged metric that says how good the network is; None for the accuracy among what is logged, or the
            monitor's probe accuracy if there is none.
        rule: ``"best_explained"`` or ``"pareto"``.
        margin: How far from the best accuracy is equally accurate, in its unit; its standard error over the validation
            images if None. Required where ``accuracy`` names no accuracy.
        max_kept: Of more, those go first whose next more accurate neighbour is explained nearly as well; None for all.
        mode: Of ``monitor``: ``"min"``, ``"max"``, or the metric's own direction.
        accuracy_mode: Of ``accuracy``: ``"max"`` if None. Required for a loss or an error.
        dirpath: Folder; as `ModelCheckpoint` chooses it if None.
        filename: As of `ModelCheckpoint`.
        auto_insert_metric_name: As of `ModelCheckpoint`; False for names with keys, whose slash would make a folder.
        save_last: Whether ``last.ckpt`` holds the end of every epoch.
        save_weights_only: As of `ModelCheckpoint`; such a file resumes nothing.
        verbose: Tell every choice, not only the last.

    Raises:
        MisconfigurationException: If ``margin`` or ``accuracy_mode`` is missing; at the start of a run without a
            monitor or with a key that has no values per image; after the first explained validation, if the accuracy
            was not logged, is no share of images, or several could be meant.

    Example:
        >>> import lightning as L
        >>> from lightning_xai import ExplanationMonitor
        >>> keep = ExplanationCheckpoint(accuracy="val_accuracy")
        >>> trainer = L.Trainer(callbacks=[ExplanationMonitor(), keep], logger=False)
    """

    def __init__(
        self,
        monitor: str | Sequence[str] = "xai/faithfulness_gain",
        accuracy: str | None = None,
        rule: Rule = "best_explained",
        margin: float | None = None,
        max_kept: int | None = 5,
        mode: Mode = "auto",
        accuracy_mode: Literal["min", "max"] | None = None,
        dirpath: str | Path | None = None,
        filename: str | None = None,
        auto_insert_metric_name: bool = True,
        save_last: bool = False,
        save_weights_only: bool = False,
        verbose: bool = False,
    ) -> None:
        check_choice(rule, ("best_explained", "pareto"), "rule")
        check_choice(mode, ("auto", "min", "max"), "mode")
        if max_kept is not None:
            check_count(max_kept, "max_kept")
        self.monitors = _checked_monitors(monitor, rule)
        super().__init__(
            dirpath=dirpath,
            filename=filename,
            monitor=self.monitors[0],
            verbose=verbose,
            save_last=save_last or None,
            save_top_k=-1 if max_kept is None else max_kept,
            save_weights_only=save_weights_only,
            mode="min" if mode == "min" else "max",
            auto_insert_metric_name=auto_insert_metric_name,
        )
        self.accuracy, self.rule, self.margin, self.max_kept = accuracy, rule, margin, max_kept
        self.accuracy_mode, self._given_mode = accuracy_mode, mode
        self._monitored: tuple[Monitored, ...] = ()
        self._is_fit = True
        self._forget()

    def _forget(self) -> None:
        """Begin a new run; files of an earlier one stay."""
        self._kept = KeptCheckpoints()
        self._accuracy = ValidationAccuracy(self.accuracy, self.margin, self.accuracy_mode)
        self._goes_on_in_folder = False
        self.best_model_path, self.best_model_score, self.current_score = "", None, None
        self.best_k_models, self.kth_best_model_path = {}, ""

    @property
    def kept(self) -> tuple[Candidate, ...]:
        """The checkpoints that may still be the best, in the order of time: path, epoch, step, accuracy."""
        return self._kept.candidates

    @property
    def reason(self) -> str | None:
        """Why the best checkpoint was chosen, with the numbers; None before there is one."""
        return self._kept.reason

    @property
    def state_key(self) -> str:
        """Name of the state in checkpoints, so that several of these callbacks keep apart."""
        told = {"monitor": list(self.monitors), "accuracy": self.accuracy, "rule": self.rule}
        return f"{type(self).__qualname__}{told!r}"  # as Lightning writes them

    def state_dict(self) -> dict[str, Any]:
        """Return the candidates and the accuracies in plain values; scores are in the monitor's state."""
        return {
            **self._kept.state(),
            "accuracy": self._accuracy.state(),
            "dirpath": str(self.dirpath),
            "best_model_path": self.best_model_path,
            "last_model_path": self.last_model_path,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a checkpoint; `validate` and `test` with one leave alone what a fit has chosen."""
        if not self._is_fit:
            return
        try:
            self._kept = KeptCheckpoints.of_state(state_dict)
            self._accuracy.restore(state_dict["accuracy"])
            self.best_model_path = str(state_dict["best_model_path"])
            self._goes_on_in_folder = state_dict["dirpath"] == str(self.dirpath)
            if self._goes_on_in_folder:
                self.last_model_path = str(state_dict["last_model_path"])
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            self._forget()
            rank_zero_warn(
                f"ExplanationCheckpoint starts afresh, because its state in the checkpoint cannot be read: {error!r}"
            )

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Find the monitor and what stands behind its keys, before training."""
        super().setup(trainer, pl_module, stage)
        self._is_fit = stage == "fit"
        if not self._is_fit:
            return
        self._monitored = tuple(rows_behind(trainer, key, self._given_mode, self) for key in self.monitors)
        if len({monitor_of(trainer, key, self).prefix for key in self.monitors}) > 1:
            raise MisconfigurationException(
                f"Expected `monitor` to name keys of one ExplanationMonitor, but got {', '.join(self.monitors)}."
            )
        self.mode = "max" if self._monitored[0].sign > 0 else "min"
        if trainer.global_step == 0:  # a new fit, unless a checkpoint is loaded next
            self._forget()

    def on_sanity_check_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Refuse a run in which several metrics could be the accuracy."""
        self._accuracy.check_unique(trainer)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """After a resume, remove what an interruption left behind, and drop what is no longer there."""
        super().on_train_start(trainer, pl_module)  # type: ignore[arg-type]
        for path in self._kept.beaten:
            self._remove(trainer, path)
        self._kept.beaten = []
        there = [one for one in self.kept if self.file_exists(one.path, trainer)]  # type: ignore[arg-type]
        if len(there) < len(self.kept):
            missing = ", ".join(one.path for one in self.kept if one not in there)
            rank_zero_warn(f"ExplanationCheckpoint goes on without files that are no longer there: {missing}.")
            self._kept.candidates = tuple(there)
        epochs = explained_epochs(monitor_of(trainer, self.monitors[0], self))
        if epochs and (candidates := self._kept.comparable(epochs, self._monitored)):
            self._take(self._choice(candidates))

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Count the validation images anew."""
        self._accuracy.begin_validation()

    def on_validation_batch_end(
        self,
        trainer: Trainer,  # noqa: ARG002
        pl_module: LightningModule,  # noqa: ARG002
        outputs: Any,  # noqa: ARG002
        batch: Any,
        batch_idx: int,  # noqa: ARG002
        dataloader_idx: int = 0,
    ) -> None:
        """Count the validation images, of which the error of an accuracy follows."""
        self._accuracy.see(batch, dataloader_idx)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Note the accuracy beside an explanation; judge, unless metrics of the epoch are still to come."""
        if self._rests(trainer):
            return
        self._accuracy.end_validation(trainer, monitor_of(trainer, self.monitors[0], self))
        if not decides_at_epoch_end(trainer):
            self._judge_newest(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Judge the last explanation, now that all metrics of the epoch are final."""
        if self._rests(trainer) or not decides_at_epoch_end(trainer):
            return
        self._accuracy.note(trainer)
        self._judge_newest(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say what was chosen, and why."""
        super().on_train_end(trainer, pl_module)  # type: ignore[arg-type]
        if self._rests(trainer):
            return
        if self.best_model_path:
            rank_zero_info(f"ExplanationCheckpoint chose {self.best_model_path}: {self.reason}.")
        else:
            rank_zero_warn("ExplanationCheckpoint saved nothing, because no validation of this fit was explained.")

    def _judge_newest(self, trainer: Any) -> None:
        epochs = explained_epochs(monitor_of(trainer, self.monitors[0], self))
        if epochs and moment_of(epochs[-1]) != self._kept.handled:
            self._kept.handled = moment_of(epochs[-1])
            self._judge(trainer, epochs)
        if self.save_last:
            self._save_last_checkpoint(trainer, self._monitor_candidates(trainer))

    def _judge(self, trainer: Any, epochs: Sequence[ExplainedEpoch]) -> None:
        """Let the newest explanation be a candidate; write and remove files accordingly."""
        accuracy = self._accuracy.at(trainer, monitor_of(trainer, self.monitors[0], self), epochs[-1])
        scores = scores_of(epochs[-1], self._monitored)
        if accuracy is None or math.isnan(accuracy.value) or scores is None:
            rank_zero_warn(
                f"ExplanationCheckpoint leaves epoch {epochs[-1].epoch} out: its accuracy or its explanation score is "
                "not known."
            )
            return
        earlier = self._kept.comparable(epochs, self._monitored)
        known = {key: torch.tensor(one.value) for key, one in epochs[-1].estimates.items()}
        known[self._accuracy.key or "accuracy"] = torch.tensor(accuracy.value)
        # an interrupted run may have left a file where this run, which goes on from before, now writes
        path = self._new_path(trainer, known, {one.path for one in self.kept} if self._goes_on_in_folder else None)
        newest = Candidate(path, *moment_of(epochs[-1]), accuracy.value, accuracy.error, scores)
        choice = self._choice([*earlier, newest])
        paths = {one.path for one in choice.kept}
        self._kept.beaten = [one.path for one in earlier if one.path not in paths]
        self._take(choice)
        self.current_score = torch.tensor(scores[0].estimate().value)
        if path in paths:
            self._save_checkpoint(trainer, path)
        for gone in self._kept.beaten:
            self._remove(trainer, gone)
        self._kept.beaten = []
        if self.verbose:
            rank_zero_info(f"ExplanationCheckpoint: {self.reason}; {len(paths)} kept.")

    def _choice(self, candidates: Sequence[Candidate]) -> Choice:
        names = (self._accuracy.key or "accuracy", *self.monitors)
        signs = (self._accuracy.sign, *(one.sign for one in self._monitored))
        return chosen(candidates, Objectives(names, signs, self.margin), self.rule, self.max_kept)

    def _take(self, choice: Choice) -> None:
        """Remember a choice, also in the attributes that users and loggers know from `ModelCheckpoint`."""
        self._kept.candidates = tuple(replace(one, scores=()) for one in choice.kept)
        self._kept.reason = choice.reason
        scores = {one.path: torch.tensor(one.scores[0].estimate().value) for one in choice.kept}
        self.best_k_models, self.best_model_path = scores, choice.best.path
        self.best_model_score = scores[choice.best.path]
        sign = self._monitored[0].sign
        self.kth_best_model_path = min(scores, key=lambda path: sign * float(scores[path]))
        self.kth_value = scores[self.kth_best_model_path]
        for one in choice.crowded_out if self.rule == "pareto" else ():
            rank_zero_info(
                f"ExplanationCheckpoint(max_kept={self.max_kept}) leaves out epoch {one.epoch} of the front."
            )


def _checked_monitors(monitor: str | Sequence[str], rule: Rule) -> tuple[str, ...]:
    monitors = (monitor,) if isinstance(monitor, str) else tuple(monitor)
    if not monitors or (len(monitors) > 1 and rule != "pareto"):
        raise ValueError(
            f"Expected `monitor` to be one key with rule={rule!r} (several with rule='pareto'), but got {monitor!r}."
        )
    return monitors
