"""What a run leaves behind: read back from the event file that TensorBoard shows."""

from pathlib import Path

from rich.console import Console
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


def show_paths(folder: Path, grids: list[Path]) -> None:
    """Print where to look."""
    lines = {
        "curves": f"tensorboard --logdir {folder}",
        "heatmaps": f"{grids[0]}  …  {grids[-1].name}",
        "numbers": f"{folder / 'xai_history.csv'}",
    }
    console = Console(soft_wrap=True, highlight=False)
    for name, text in lines.items():
        console.print(f"[bold]{name:9}[/bold] {text}")
