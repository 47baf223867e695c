"""What a run leaves behind: read back from the event file that TensorBoard shows."""

from pathlib import Path

from rich import get_console
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


def save_grids(folder: Path) -> list[Path]:
    """Write the heatmap grid of every epoch in the event file to ``folder/heatmaps/``; return the files in order."""
    events = EventAccumulator(str(folder), size_guidance={"images": 0}).Reload()
    target = folder / "heatmaps"
    target.mkdir(exist_ok=True)
    files = []
    for epoch, picture in enumerate(events.Images("xai/heatmaps")):
        files.append(target / f"epoch={epoch:02d}.png")
        files[-1].write_bytes(picture.encoded_image_string)
    return files


def show_paths(folder: Path) -> None:
    """Save the grids and print where to look."""
    grids = save_grids(folder)
    report = folder / "xai_report.html"
    print_facts(
        {
            "curves": f"tensorboard --logdir {folder}",
            "heatmaps": f"{grids[0]} … {grids[-1].name}",
            "numbers": f"{folder / 'xai_history.csv'}",
            **({"report": f"{report}"} if report.exists() else {}),
        }
    )


def print_facts(facts: dict[str, str]) -> None:
    """Print names and what belongs to them, one per line."""
    width = max(map(len, facts))
    for name, text in facts.items():
        get_console().print(f"[bold]{name:{width}}[/bold]  {text}", soft_wrap=True, highlight=False)
