"""The heatmaps of a few images over the epochs of a run, in one scale."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from lightning_utilities.core.rank_zero import rank_zero_info

from lightning_xai._checks import check_count
from lightning_xai.loggers.files import joined, write_file
from lightning_xai.loggers.log_picture import log_picture
from lightning_xai.probing.explained import ExplainedEpoch, moment_of
from lightning_xai.reports.captions import Captions, class_names
from lightning_xai.reports.maps import epoch_with_maps
from lightning_xai.reports.probe_pictures import probe_pictures
from lightning_xai.reports.report import Report, Run

if TYPE_CHECKING:
    from lightning_xai.visualization.film import Film

_NAME = "filmstrip"
_MOST_FRAMES = 200


@dataclass(frozen=True)
class Filmstrip(Report):
    """Show how the heatmaps of a few images change: a row per image, a column per explained epoch, one scale per row.

    In every logger that can show pictures, else as PNG files: at each explained epoch from the second on, once there
    are twice as many as columns at every second one, then at every third, and when a fit ends. Then
    ``<prefix>_filmstrip.webp`` in the run's folder has a frame for every epoch. Both are drawn from the files of
    `Maps`, which has to be among the reports; where files are missing, because a run was resumed in another folder,
    the film starts anew, which is said. Nothing is shown of a private run.

    Args:
        num_images: Rows, from the first image of the probe.
        num_epochs: Columns; of more epochs some are left out at even distances, never the first or the last.
        class_names: Shown instead of class numbers; None for those that data or model know.
        mean: Per channel, what the images were normalised with, so that they are shown as they were.
        std: Per channel, likewise.
        channels: Shown of images that are no photographs; see `Grid`.
        cell_size: Longer side of a cell in pixels.
        file: Whether to write the animated file.

    Raises:
        ValueError: If a number is out of range.
    """

    num_images: int = 4
    num_epochs: int = 8
    class_names: Sequence[str] | None = None
    mean: Sequence[float] | None = None
    std: Sequence[float] | None = None
    channels: int | Sequence[int] | None = None
    cell_size: int = 112
    file: bool = True

    def __post_init__(self) -> None:
        """Check the settings."""
        check_count(self.num_images, "num_images of the filmstrip")
        check_count(self.num_epochs, "num_epochs", least=2)
        check_count(self.cell_size, "cell_size", least=32)

    def publish(self, epoch: ExplainedEpoch, run: Run) -> None:
        """Draw the strip of every loader and explainer and log it, if it is time for one."""
        if self._shows(run) and self._is_due(run):
            self._log([*self._past(run, self.num_epochs - 1), epoch], run)

    def end_fit(self, run: Run) -> None:
        """Log the last strip, unless it was, and write the animated file."""
        if not self._shows(run):
            return
        if not self._is_due(run):
            self._log(self._past(run, self.num_epochs, last=True), run)
        if not self.file:
            return
        from lightning_xai.visualization.film import animated

        for _, key, film in self._films(self._past(run, _MOST_FRAMES, last=True), run):
            write_file(joined(run.folder, f"{key.replace('/', '_')}.webp"), animated(film.frames()))

    def _shows(self, run: Run) -> bool:
        """Return whether a run has anything to show: the last epoch is one of a fit, and not its first."""
        return not run.private and run.epochs[-1].stage == "fit" and len(run.epochs) > 1

    def _is_due(self, run: Run) -> bool:
        """Return whether the last epoch gets a strip: in a long run, one for each column that would be new in it."""
        count = sum(one.stage == "fit" for one in run.epochs)
        return count % max(count // self.num_epochs, 1) == 0

    def _log(self, epochs: Sequence[ExplainedEpoch], run: Run) -> None:
        """Log the strips of some epochs, each beside the values of the last one."""
        for explainer, key, film in self._films(epochs, run):
            title = f"{explainer} · epoch {epochs[-1].epoch}"
            strip, moment = film.strip(title=title), moment_of(epochs[-1])
            log_picture(run.trainer, key, strip, caption=title, directory=run.folder, moment=moment)

    def _films(self, epochs: Sequence[ExplainedEpoch], run: Run) -> Iterator[tuple[str, str, Film]]:
        """Yield explainer, key and film of every loader and explainer of the last of some epochs."""
        for loader, found in epochs[-1].loaders.items() if epochs else ():
            for explainer in found.heatmaps:
                film = self._film(epochs, run, loader, explainer)
                if film is not None:
                    index = loader if run.several_loaders else None
                    yield explainer, run.keys.full(_NAME, explainer=explainer, loader=index), film

    def _past(self, run: Run, most: int, *, last: bool = False) -> list[ExplainedEpoch]:
        """Return earlier epochs with their heatmaps, in order, at even distances; say where the film starts anew."""
        from lightning_xai.visualization.film import evenly

        epochs = [one for one in run.epochs if one.stage == "fit"][: None if last else -1]
        kept = [epoch_with_maps(epochs[place], run) for place in evenly(len(epochs), most)]
        if kept and not last and kept[-1] is None:  # after a resume, or without `Maps`
            rank_zero_info(
                f"The filmstrip starts at epoch {run.epochs[-1].epoch}: {run.folder} has no maps of the epochs before. "
                "They are where the run was begun, if the report Maps() was there."
            )
        return [one for one in kept if one is not None]

    def _film(self, epochs: Sequence[ExplainedEpoch], run: Run, loader: int, explainer: str) -> Film | None:
        """Return the film of the first images of a probe; None if no earlier epoch knows one of them."""
        from lightning_xai.visualization.film import Film

        now = epochs[-1].loaders[loader]
        places = list(range(min(self.num_images, len(now))))
        pictures = probe_pictures(run.probes[loader], mean=self.mean, std=self.std, channels=self.channels)
        captions = self._captions(epochs[-1], run, loader, places)
        keys = now.keys[places].tolist()
        return Film.of_epochs(epochs, loader, explainer, keys, pictures[: len(places)], captions, self.cell_size)

    def _captions(self, epoch: ExplainedEpoch, run: Run, loader: int, places: Sequence[int]) -> list[str]:
        found = epoch.loaders[loader]
        names = self.class_names or class_names(run.trainer, epoch.stage, loader, found.probabilities.shape[1])
        samples = [run.probes[loader].sample([place], torch.device("cpu")) for place in places]
        return Captions(samples, found, epoch.task, names).truths
