"""What the class-balanced probe hides: the images that a model is wrong about, and those about which it changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from lightning_xai._checks import check_count
from lightning_xai.loggers.log_picture import log_picture
from lightning_xai.probing.explained import ExplainedEpoch, moment_of
from lightning_xai.probing.failures import Failure
from lightning_xai.probing.probe import Probe
from lightning_xai.reports.captions import class_names
from lightning_xai.reports.probe_pictures import probe_pictures
from lightning_xai.reports.report import Report, Run

_NAME = "failures"
_ROWS = 4  # above each other
_SCALE = "one scale per image, for label and prediction"


@dataclass(frozen=True)
class Failures(Report):
    """Show images of the whole validation that the model is wrong about, each by the heat of label and prediction.

    The probe is class-balanced and stays the same, so that its curves mean something: it shows few mistakes. Here are
    the most confidently wrong images; those of the pair of classes that is confused most often; those that became
    wrong, or right, since the last explanation (a quarter each, of the whole validation's own logits); and images that
    are followed by their ids. In every logger that can show pictures, else as PNG files.

    They cost evaluations beside the probe: for each image those of the explainers, once for the label, once for the
    prediction. While a validation runs, its batches are copied and each step waits once for the device. Where a step's
    logits cannot be heard there are none, which is said once; nor in a private run.

    Args:
        num_images: At most so many, the followed ones beside them.
        images: Ids of images to follow, as `Sample.ids` has them, whatever the model says about them.
        class_names: Shown instead of class numbers; None for those that data or model know.
        mean: Per channel, what the images were normalised with, so that they are shown as they were.
        std: Per channel, likewise.
        channels: Shown of images that are no photographs; see `Grid`.
        cell_size: Longer side of a cell in pixels.
        files: Whether a PNG goes into the run's folder beside the loggers, too; `HtmlReport` shows the last one.

    Raises:
        ValueError: If a number is out of range.
    """

    wants_validation_logits: ClassVar[bool] = True

    num_images: int = 8
    images: Sequence[str] = ()
    class_names: Sequence[str] | None = None
    mean: Sequence[float] | None = None
    std: Sequence[float] | None = None
    channels: int | Sequence[int] | None = None
    cell_size: int = 128
    files: bool = True

    def __post_init__(self) -> None:
        """Check the numbers."""
        check_count(self.num_images, "num_images of the failures")
        check_count(self.cell_size, "cell_size", least=32)

    def num_failures(self) -> int:
        """Return ``num_images``."""
        return self.num_images

    def followed_images(self) -> Sequence[str]:
        """Return the ids of the images to follow."""
        return [self.images] if isinstance(self.images, str) else self.images

    def publish(self, epoch: ExplainedEpoch, run: Run) -> None:
        """Draw the failures of every loader and log them."""
        for loader, failures in run.failures.items():
            shown = self._of_ours(failures)
            if not shown:
                continue
            title = f"failures · epoch {epoch.epoch} · step {epoch.step}"
            in_words = "; ".join(", ".join(lines) for lines in self._captions(shown, epoch, run, loader))
            log_picture(
                run.trainer,
                run.keys.full(_NAME, loader=loader if run.several_loaders else None),
                self._drawn(shown, epoch, run, loader, title),
                caption=f"{title}: {in_words}",
                directory=run.folder,
                files=self.files,
                moment=moment_of(epoch),
            )

    def _of_ours(self, failures: Sequence[Failure]) -> list[Failure]:
        """Return those that this report asked for: another may show more, or follow other images."""
        ours = set(self.followed_images())
        followed = [one for one in failures if one.kind == "followed" and one.candidate.item.id in ours]
        return [*followed, *[one for one in failures if one.kind != "followed"][: self.num_images]]

    def _captions(self, failures: Sequence[Failure], epoch: ExplainedEpoch, run: Run, loader: int) -> list[list[str]]:
        names = self.class_names
        if names is None:
            names = class_names(run.trainer, epoch.stage, loader, epoch.loaders[loader].probabilities.shape[1])
        return [_lines(one, names, several_labels=epoch.task == "multilabel") for one in failures]

    def _drawn(self, failures: Sequence[Failure], epoch: ExplainedEpoch, run: Run, loader: int, title: str) -> Tensor:
        from lightning_xai.visualization.film import Film

        shown = Probe(
            [(one.candidate.key, one.candidate.label) for one in failures], [one.candidate.item for one in failures]
        )
        pictures = probe_pictures(shown, mean=self.mean, std=self.std, channels=self.channels)
        columns, maps = [], []
        for explainer in failures[0].heatmaps:
            for side, word in ((0, "label"), (-1, "prediction")):
                columns.append(f"{explainer}: {word}" if len(failures[0].heatmaps) > 1 else f"heat of the {word}")
                maps.append(_in_one([one.heatmaps[explainer][side] for one in failures]))
        captions = ["\n".join(lines) for lines in self._captions(failures, epoch, run, loader)]
        return Film(pictures, maps, columns, captions, (), self.cell_size, _SCALE).strip(
            title=title, num_blocks=-(-len(failures) // _ROWS)
        )


def _in_one(maps: Sequence[Tensor]) -> Tensor:
    """Return maps (h, w) as one tensor, NaN beyond the edges of smaller ones."""
    from lightning_xai.visualization.pictures import in_one_batch

    return in_one_batch([one[None] for one in maps])[:, 0]


def _lines(failure: Failure, names: Sequence[str] | None, *, several_labels: bool) -> list[str]:
    """Return the caption of an image."""
    found = failure.candidate
    lines = [failure.kind, *([] if found.item.id is None else [f"id {found.item.id}"])]
    if found.label >= 0:
        lines += [f"label {_name(found.label, names)}", f"probability {found.probabilities[0]:.2f}"]
    if found.predicted != found.label:
        word = "likeliest" if several_labels and found.probabilities[1] <= 0.5 else "predicted"
        lines += [f"{word} {_name(found.predicted, names)}", f"probability {found.probabilities[1]:.2f}"]
    return lines


def _name(number: int, names: Sequence[str] | None) -> str:
    return names[number] if names is not None and number < len(names) else str(number)
