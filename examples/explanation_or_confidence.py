"""Is it the explanation, or is the model just surer? Two experiments, as tables and pictures.

    python examples/explanation_or_confidence.py                 # six trainings: about seven minutes on one core
    python examples/explanation_or_confidence.py --data badge --seeds 0 1 2 3

*Temperature*: the logits of a trained network times ¼ … 4. Predictions stay, and so do the heatmaps; only the
confidence moves. What moves with it is no better explanation.

*Choice*: which epoch would each score and each rule have chosen, and what is the network worth there? Every run goes to
its end, and the rules are asked afterwards. Worth is measured on images that chose nothing: accuracy, and where the
heatmaps lie.

Data: `shapes`; `fashion`, garments on canvases (the Debian package dataset-fashion-mnist, or `--folder`); `badge`,
shapes with a badge that names the class in 95 % of the images, and says nothing in those that measure worth; `xrays`,
effusion or not, with a marker that goes with it (correlation 0.95), and says nothing in those that measure worth.

docs/explanation_or_confidence.md discusses what the defaults print.
"""

import argparse
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch
from _shared.finished_run import DATA, MOST_ACCURATE, SCORES, WORTH, FinishedRun, at_temperature, finished_run
from _shared.quiet import quiet_lightning
from _shared.run_folder import print_facts
from _shared.score_pictures import draw_epochs, draw_temperatures
from rich import get_console

from lightning_xai import Estimate, ExplainedEpoch, difference

FACTORS = (0.25, 0.5, 1.0, 2.0, 4.0)
Row = Sequence[str]


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, scale the logits, choose; write tables and pictures."""
    settings = parse(arguments)
    quiet_lightning()
    folder = settings.output / "explanation_or_confidence"
    try:
        runs = {name: [finished_run(name, seed, settings, folder) for seed in settings.seeds] for name in settings.data}
    except FileNotFoundError as error:
        sys.exit(f"{error} Or leave it out: --data shapes.")
    heated = {
        name: [{factor: at_temperature(run, factor, settings) for factor in FACTORS} for run in of]
        for name, of in runs.items()
    }
    told = "\n\n".join(
        f"**{name}, logits × factor**\n\n{markdown(temperatures(heated[name]))}\n\n"
        f"**{name}, the chosen epochs**\n\n{markdown(choices(of))}\n\n{fronts(of)}"
        for name, of in runs.items()
    )
    tables = folder / "tables.md"
    tables.write_text(told + "\n", encoding="utf-8")
    get_console().print(told, markup=False, highlight=False, soft_wrap=True)
    pictures = [
        draw_temperatures(heated, folder / "temperature.png"),
        draw_epochs(runs, folder / "epochs.png"),
    ]
    print_facts({path.stem: str(path) for path in (tables, *pictures)})


def temperatures(heated: Sequence[Mapping[float, ExplainedEpoch]]) -> Iterator[Row]:
    """Yield a row per factor: means over the runs, errors over their images; then what moved, paired image by image."""
    yield ("logits ×", "accuracy", "confidence", *SCORES)
    for factor in FACTORS:
        epochs = [run[factor] for run in heated]
        accuracy, confidence, *scores = (
            over_images([epoch.estimates[f"xai/{name}"] for epoch in epochs])
            for name in ("probe_accuracy", "probe_confidence", *SCORES)
        )
        yield (f"{factor:g}", f"{accuracy.value:.2f}", f"{confidence.value:.2f}", *map(str, scores))
    low, high = FACTORS[0], FACTORS[-1]
    moved = [
        over_images([difference(run[high].scores(score), run[low].scores(score)) for run in heated]) for score in SCORES
    ]
    yield (f"**{high:g} minus {low:g}**", "", "", *(f"**{one.value:+.3f} ± {one.error:.3f}**" for one in moved))


def choices(runs: Sequence[FinishedRun]) -> Iterator[Row]:
    """Yield a row per rule: its epoch in each run, the last one in parentheses if it takes none, and their worth."""
    yield ("rule", "epochs", *WORTH)
    reference = [run.worth(run.choices[MOST_ACCURATE]) for run in runs]
    for rule in runs[0].choices:
        epochs = [run.choices[rule] for run in runs]
        told = [f"({run.last})" if epoch is None else str(epoch) for run, epoch in zip(runs, epochs, strict=True)]
        worth = [run.worth(epoch) for run, epoch in zip(runs, epochs, strict=True)]
        columns = zip(zip(*worth, strict=True), zip(*reference, strict=True), strict=True)
        yield (rule, ", ".join(told), *(cell(values, others) for values, others in columns))


def cell(values: Sequence[float], others: Sequence[float]) -> str:
    """Return the mean over the runs, and its difference to the most accurate epochs' with its error over the runs."""
    mean = f"{over_runs(values).value:.3f}"
    if values == others:
        return mean
    shift = over_runs([value - other for value, other in zip(values, others, strict=True)])
    return f"{mean} ({shift.value:+.3f} ± {shift.error:.3f})"


def fronts(runs: Sequence[FinishedRun]) -> str:
    """Say which epochs ``rule="pareto"`` keeps."""
    kept = "; ".join(str([one.epoch for one in run.checkpoint.kept])[1:-1] for run in runs)
    return f'`ExplanationCheckpoint(rule="pareto")` chooses the same epochs and keeps: {kept}.'


def over_images(estimates: Sequence[Estimate]) -> Estimate:
    """Return the mean of several runs' numbers; its error is that of their images."""
    count = len(estimates)
    error = math.sqrt(sum(one.error**2 for one in estimates)) / count
    return Estimate(sum(one.value for one in estimates) / count, error)


def over_runs(values: Sequence[float]) -> Estimate:
    """Return the mean of several runs' numbers, with its standard error over the runs; NaN of one run."""
    numbers = torch.tensor(values, dtype=torch.float64)
    error = float(numbers.std()) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return Estimate(float(numbers.mean()), error)


def markdown(rows: Iterator[Row]) -> str:
    """Return a Markdown table whose first row is its head."""
    head, *others = (f"| {' | '.join(row)} |" for row in rows)
    return "\n".join([head, "|" + "---|" * (head.count("|") - 1), *others])


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", choices=DATA, default=["shapes", "fashion"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--num-images", type=int, default=3000, help="for training; validation has a quarter of it")
    parser.add_argument("--num-held-out", type=int, default=512, help="images that measure what an epoch is worth")
    parser.add_argument("--num-explained", type=int, default=32, help="images in the probe")
    parser.add_argument("--image-size", type=int, default=32, help="in pixels")
    parser.add_argument("--folder", type=Path, default=Path("/usr/share/datasets/fashion-mnist"))
    parser.add_argument("--output", type=Path, default=Path("runs"))
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
