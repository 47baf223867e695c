"""What to read first: a few sentences, each made from the numbers of a run."""

from __future__ import annotations

from collections.abc import Sequence

from lightning_xai.metrics.estimate import Estimate
from lightning_xai.probing.decisions.alignment import Alignment
from lightning_xai.reports.html.run_numbers import Score, accuracy_of, headlines
from lightning_xai.reports.saved_run import SavedRun

_ERRORS = 2.0  # standard errors that tell a difference from chance
_BEYOND_THE_REFERENCE = (
    " (1 is no ceiling: the reference hides one cell at a time by blurring, and misses what is finer than a cell, or "
    "so large and even that its blur looks the same)"
)
_ON_OBJECT = ("pointing_game", "relevance_mass_accuracy")


def sentences(run: SavedRun, scores: Sequence[Score], alignments: Sequence[Alignment]) -> list[str]:
    """Return what the last explanation is worth, how it changed, and how it goes with accuracy and objects.

    Args:
        run: The run.
        scores: Its scores.
        alignments: Accuracy and the headline scores over epochs.
    """
    if not scores:
        return ["Nothing was explained yet."]
    leading = next((one for one in scores if one.name == headlines(scores)[0]), scores[0])
    found = [
        _alarm(run),
        _level(leading, scores),
        _change(leading),
        _tie(run, leading, alignments),
        _on_object(leading, scores),
    ]
    return [one for one in found if one]


def _alarm(run: SavedRun) -> str:
    """Return in which epochs the shortcut alarm was raised; nothing where it was not."""
    raised = [
        one.epoch
        for one in run.epochs
        if any("shortcut_alarm" in key.split("/") and found.value > 0 for key, found in one.estimates.items())
    ]
    if not raised:
        return ""
    now = "is raised" if raised[-1] == run.epochs[-1].epoch else "was raised"
    return (
        f"The shortcut alarm {now}, first in epoch {raised[0]}: the model seems right for the wrong reason. Its "
        "warning says why."
    )


def _level(score: Score, scores: Sequence[Score]) -> str:
    epoch, value = score.epochs[-1]
    count = len(epoch.loaders[score.loader])
    skill = next((one for one in scores if one.name == "faithfulness_skill" and _beside(one, score)), None)
    reached = "" if skill is None else f"; that is {_shown(skill.last)} of what a reference by occlusion reaches"
    if skill is not None and skill.last.value > 1.0:
        reached += _BEYOND_THE_REFERENCE
    if score.name != "faithfulness_gain":
        return f"In epoch {epoch.epoch}, {score.name} of {score.explainer} is {_shown(value)} over {count} images."
    if not _differs(value):
        return (
            f"In epoch {epoch.epoch}, the heatmaps of {score.explainer} cannot be told from random ones by what hiding "
            f"and showing them does to the model: faithfulness gain {_shown(value)} over {count} images{reached}."
        )
    more = "more" if value.value > 0 else "less"
    return (
        f"In epoch {epoch.epoch}, the heatmaps of {score.explainer} say {more} about what the model looks at than "
        f"random ones: faithfulness gain {_shown(value)} over {count} images{reached}."
    )


def _change(score: Score) -> str:
    if score.change is None:
        return ""
    first, last = score.epochs[0][0].epoch, score.epochs[-1][0].epoch
    change = score.change
    same_images = f"{_signed(change)}, on the same images"
    if not _differs(change):
        return f"Between epochs {first} and {last}, {score.name} did not change by more than chance ({same_images})."
    verb = "rose" if change.value > 0 else "fell"
    better = score.higher_is_better
    judged = "" if better is None else ", which is better" if better == (change.value > 0) else ", which is worse"
    return f"Between epochs {first} and {last}, {score.name} {verb} by more than chance{judged} ({same_images})."


def _tie(run: SavedRun, score: Score, alignments: Sequence[Alignment]) -> str:
    name, accuracy = accuracy_of(run, score.loader)
    if len(accuracy) < 2:
        return f"{name} is {accuracy[0][1]:.3f}." if accuracy else ""
    went = f"{name} went from {accuracy[0][1]:.3f} to {accuracy[-1][1]:.3f} over the same epochs"
    aligned = next((one for one in alignments if one.score.endswith(score.name)), None)
    found = None if aligned is None else aligned.correlation()
    if found is None:
        return f"{went}; too few epochs to say whether both move together."
    if found.low > 0:
        together = "both moved together"
    elif found.high < 0:
        together = "they moved against each other: look at what the model has learnt to look at"
    else:
        together = "whether both move together cannot be told from so few epochs"
    return f"{went}; {together} (Spearman {found.value:.2f}, 95 % interval {found.low:.2f} to {found.high:.2f})."


def _on_object(score: Score, scores: Sequence[Score]) -> str:
    located = next((one for name in _ON_OBJECT for one in scores if one.name == name and _beside(one, score)), None)
    if located is None:
        return ""
    said = {
        "pointing_game": "The hottest point lies on the annotated object in a share of {} of the images.",
        "relevance_mass_accuracy": "A share of {} of the heat lies on the annotated object.",
    }
    return said[located.name].format(_shown(located.last))


def _beside(one: Score, other: Score) -> bool:
    return (one.explainer, one.loader) == (other.explainer, other.loader)


def _differs(value: Estimate) -> bool:
    return abs(value.value) > _ERRORS * value.error  # never, where the error is not known


def _shown(value: Estimate) -> str:
    return f"{value.value:.2f}" + (f" ± {value.error:.2f}" if value.error == value.error else "")


def _signed(value: Estimate) -> str:
    return f"{value.value:+.2f}" + (f" ± {value.error:.2f}" if value.error == value.error else "")
