"""Read a validation batch, by the user's functions where there are some, without a trace of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from lightning_utilities.core.rank_zero import rank_zero_warn

from lightning_xai.callbacks.run_state import RunState
from lightning_xai.model.call import ForwardArguments
from lightning_xai.model.preserve import preserved
from lightning_xai.model.readout import Readout, called_module
from lightning_xai.probing.batches import SampleFromBatch
from lightning_xai.probing.batches import sample_from_batch as sample_of
from lightning_xai.probing.groups_in_batch import Groups, groups_of, no_such_key
from lightning_xai.probing.sample import Sample, sample_of_checked

if TYPE_CHECKING:
    from lightning_xai._lightning import LightningModule


@dataclass(frozen=True)
class BatchReader:
    """How batches become samples.

    Attributes:
        sample_from_batch: A function of a batch; that of this package knows the usual forms.
        groups: Where the group of each image stands; None for those that the sample has by itself.
        readout: How the model is read: the names of its arguments say what a batch holds beside images.
    """

    sample_from_batch: SampleFromBatch
    groups: Groups | None
    readout: Readout

    def read(self, module: LightningModule, batch: Any, run: RunState) -> Sample:
        """Return what a batch of the running validation holds.

        Raises:
            ValueError: If ``groups`` is no key of a batch in `fit`; in `validate` and `test`, whose data may be others,
                that is said once and images have no group.
        """
        # Reading a batch in the usual way disturbs nothing, and guarding the module costs more than choosing.
        usual = self.sample_from_batch is sample_of
        with torch.inference_mode(False) if usual and not callable(self.groups) else preserved(module):
            arguments = ForwardArguments(called_module(module, self.readout.forward)) if usual else None
            sample = sample_of(batch, arguments) if usual else self.sample_from_batch(batch)
            return sample if self.groups is None else self._with_groups(sample, batch, self.groups, run)

    def _with_groups(self, sample: Sample, batch: Any, groups: Groups, run: RunState) -> Sample:
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
