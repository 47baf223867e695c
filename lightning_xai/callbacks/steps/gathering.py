"""The images that are explained: read from the batches of a validation, chosen, and agreed on by all ranks."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from lightning_utilities.core.rank_zero import rank_zero_warn

from lightning_xai.callbacks.run.run_state import RunState
from lightning_xai.callbacks.run.validation import Validation
from lightning_xai.callbacks.steps.assumptions import check_labels
from lightning_xai.model.call import ForwardArguments
from lightning_xai.model.preserve import preserved
from lightning_xai.model.readout import Readout, called_module
from lightning_xai.probing.batches import SampleFromBatch
from lightning_xai.probing.batches import sample_from_batch as sample_of
from lightning_xai.probing.groups_in_batch import Groups, check_groups, groups_of, no_such_key
from lightning_xai.probing.plan import Plan
from lightning_xai.probing.processes import agreed_probe, of_all
from lightning_xai.probing.sample import Sample, sample_of_checked

if TYPE_CHECKING:
    from lightning_xai._lightning import LightningModule


@dataclass(frozen=True)
class Gathering:
    """Read batches, and keep the images that are explained; as a step, agree on these.

    Attributes:
        plan: Says how many references are wanted, and whether labels must be classes.
        readout: How the model is read: the names of its arguments say what a batch holds beside images.
        sample_from_batch: A function of a batch; that of this package knows the usual forms.
        groups: Where the group of each image stands; None for those that the sample has by itself.
    """

    plan: Plan
    readout: Readout
    sample_from_batch: SampleFromBatch = sample_of
    groups: Groups | None = None

    def __post_init__(self) -> None:
        """Check the settings."""
        if self.groups is not None:
            check_groups(self.groups)

    def see(self, at: Validation, batch: Any, loader: int, *, is_first: bool) -> None:
        """Note the first batch of a loader, and images for a probe that is to be gathered.

        Raises:
            Exception: If the first batch cannot be read before any model was tried; else the validation's end tells.
        """
        run = at.run
        gathers = run.due and loader not in run.probes and not at.trainer.sanity_checking
        if not is_first and not gathers:
            return
        try:
            sample = self.read(at.module, batch, run)
            with torch.inference_mode(False):
                run.note_labels(sample)
                if is_first:
                    run.note_first_batch(loader, sample)
                if gathers:
                    run.selection(loader, max(run.effort.num_images, self.plan.num_references)).offer(sample)
        except Exception as error:
            if is_first and not run.tried:
                raise
            run.error = error

    def read(self, module: LightningModule, batch: Any, run: RunState) -> Sample:
        """Return what a batch of the running validation holds, without a trace of the user's functions.

        Raises:
            ValueError: If ``groups`` is no key of a batch in `fit`; in `validate` and `test`, whose data may be others,
                that is said once and images have no group.
        """
        # Reading a batch in the usual way disturbs nothing, and guarding the module costs more than choosing.
        usual = self.sample_from_batch is sample_of
        with torch.inference_mode(False) if usual and not callable(self.groups) else preserved(module):
            arguments = ForwardArguments(called_module(module, self.readout.forward)) if usual else None
            sample = sample_of(batch, arguments) if usual else self.sample_from_batch(batch)
            return sample if self.groups is None else _with_groups(sample, batch, self.groups, run)

    def __call__(self, at: Validation) -> None:
        """Agree on the probe of each loader that was looked through; every rank must call it."""
        run, processes = at.run, at.processes
        for loader, selection in sorted(run.selections.items()):
            seen = of_all(processes, (selection.class_counts, bool(selection.offers.annotated), _columns(run, loader)))
            counts = sum((one for one, _, _ in seen), Counter[int]())
            # where annotated images come first, a probe is no sample of its classes
            run.class_counts[loader] = Counter() if any(annotated for _, annotated, _ in seen) else counts
            if self.plan.num_references:
                references = agreed_probe(processes, selection, self.plan.num_references, [], run.num_classes)
                run.references[loader] = [item.image for item in references.items]
            wanted = run.wanted(loader)
            probe = agreed_probe(processes, selection, run.effort.num_images, wanted, run.num_classes)
            if self.plan.target == "label" and run.num_classes is not None:
                have_columns = any(columns for _, _, columns in seen)
                check_labels(probe.labels, run.num_classes, {} if have_columns else counts)
            differences = run.accept(loader, probe)
            if differences:
                rank_zero_warn(f"ExplanationMonitor {', and '.join(differences)}.")
        run.selections = {}
        at.probes = run.probes


def agree_on_data(at: Validation) -> None:
    """Agree on what each rank saw of the data in a part; every rank must call it.

    Which loaders have annotations or groups, and so which keys there are, is settled once.
    """
    run = at.run
    seen = {loader: (sample.annotated, sample.groups is not None) for loader, sample in run.samples.items()}
    of_ranks = of_all(at.processes, (seen, run.labels_are_distributions, run.chunk_size))
    known = [labels for _, labels, _ in of_ranks if labels is not None]
    run.labels_are_distributions = all(known) if known else None
    run.chunk_size = max(chunk_size for *_, chunk_size in of_ranks)
    loaders = sorted({loader for seen, *_ in of_ranks for loader in seen})
    of_loaders = {loader: [seen[loader] for seen, *_ in of_ranks if loader in seen] for loader in loaders}
    if not run.annotated_loaders:
        run.annotated_loaders = {i: any(annotated for annotated, _ in found) for i, found in of_loaders.items()}
        run.grouped_loaders = {i: any(grouped for _, grouped in found) for i, found in of_loaders.items()}


def _columns(run: RunState, loader: int) -> bool:
    """Return whether the labels of a loader have a column per class."""
    sample = run.samples.get(loader)
    return sample is not None and sample.labels is not None and sample.labels.ndim > 1


def _with_groups(sample: Sample, batch: Any, groups: Groups, run: RunState) -> Sample:
    try:
        return sample_of_checked(**{**vars(sample), "groups": groups_of(batch, groups, len(sample.images))})
    except KeyError:
        if not isinstance(groups, str):
            raise
        said = no_such_key(batch, groups)
    if run.stage == "fit":
        raise ValueError(said)
    if "groups" not in run.said:
        run.said.add("groups")
        rank_zero_warn(f"ExplanationMonitor tells nothing by groups in this {run.stage}. {said}")
    return sample
