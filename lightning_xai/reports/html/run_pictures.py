"""The pictures of a saved run, as data that a page holds in itself: strips, films, and a picture for each image."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

from torch import Tensor

from lightning_xai.loggers.files import exists, joined, read_file
from lightning_xai.probing.explained import Explained
from lightning_xai.reports.saved_run import SavedRun
from lightning_xai.visualization.film import Film, animated, evenly

_STRIP_IMAGES, _STRIP_EPOCHS, _CELL = 6, 8, 112
_MOST_FRAMES = 60
_QUALITY = 82


@dataclass(frozen=True)
class Picture:
    """A picture in a page.

    Attributes:
        source: ``data:`` URI.
        text: What it shows, for those who do not see it.
        title: Beside or above it.
    """

    source: str
    text: str
    title: str = ""


def strips(run: SavedRun) -> list[Picture]:
    """Return a strip for each loader and explainer: a few images over the epochs, in one scale each."""
    found = []
    for film, title in _films(run, _STRIP_EPOCHS):
        text = f"{len(film.pictures)} images, each with its heatmap in {', '.join(film.names)}, in one colour scale."
        found.append(Picture(_webp(film.strip()), f"{title}. {text}", title))
    return found


def films(run: SavedRun) -> list[Picture]:
    """Return the same as animated pictures, with a frame per epoch."""
    found = []
    for film, title in _films(run, _MOST_FRAMES):
        source = _uri(animated(film.frames()))
        found.append(Picture(source, f"{title}, one epoch after another: {', '.join(film.names)}.", title))
    return found


def failures(run: SavedRun) -> list[Picture]:
    """Return what the report `Failures` drew of the last epoch, as it lies in the run's folder."""
    last = run.epochs[-1]
    several = len(last.loaders) > 1
    found = []
    for loader in last.loaders:
        parts = [run.prefix, "failures", *([f"dataloader_idx_{loader}"] if several else [])]
        path = joined(run.folder, *parts, f"epoch={last.epoch:04d}-step={last.step:08d}.png")
        if exists(path):
            content = read_file(path)
            title = f"Epoch {last.epoch}" + (f", loader {loader}" if several else "")
            source = f"data:image/png;base64,{base64.b64encode(content).decode()}"
            found.append(Picture(source, _description(content) or title, title))
    return found


def _description(png: bytes) -> str:
    """Return what `save_png` wrote about a picture."""
    from PIL import Image

    with Image.open(io.BytesIO(png)) as picture:
        picture.load()
        return str(picture.info.get("Description", ""))


def images(run: SavedRun, loader: int, explainer: str) -> dict[int, Picture]:
    """Return each image beside its last heatmap, by the image's place in the probe."""
    epoch = run.epochs[-1]
    found = epoch.loaders[loader]
    pictures = run.pictures.get(loader, {})
    places = [place for place, key in enumerate(found.keys.tolist()) if key in pictures]
    if explainer not in found.heatmaps or not places:
        return {}
    shown = {}
    for place in places:
        picture = pictures[int(found.keys[place])]
        film = Film([picture], [found.raw_heatmaps(explainer)[place][None]], [explainer], cell_size=_CELL)
        text = f"Image {place + 1} and its heatmap by {explainer}."
        shown[place] = Picture(_webp(film.beside()), text)
    return shown


def _films(run: SavedRun, most_epochs: int) -> list[tuple[Film, str]]:
    """Return a film of the first images of each loader and explainer, over at most so many epochs."""
    found = []
    for loader, last in run.epochs[-1].loaders.items():
        pictures = run.pictures.get(loader, {})
        keys = [key for key in last.keys.tolist() if key in pictures][:_STRIP_IMAGES]
        captions = [_caption(run, last, loader, key) for key in keys]
        epochs = [one for one in run.epochs if loader in one.loaders and one.loaders[loader].heatmaps]
        shown = [epochs[place] for place in evenly(len(epochs), most_epochs)]
        for explainer in last.heatmaps if keys else ():
            film = Film.of_epochs(shown, loader, explainer, keys, [pictures[key] for key in keys], captions, _CELL)
            if film is not None:
                title = explainer if len(run.epochs[-1].loaders) == 1 else f"{explainer}, loader {loader}"
                found.append((film, title))
    return found


def _caption(run: SavedRun, found: Explained, loader: int, key: int) -> str:
    place = found.keys.tolist().index(key)
    lines = [] if found.ids is None else [f"id {found.ids[place]}"]
    label = int(found.labels[place])
    return "\n".join([*lines, *([] if label < 0 else [f"label {run.class_name(loader, label)}"])])


def _webp(picture: Tensor) -> str:
    from PIL import Image

    content = io.BytesIO()
    Image.fromarray(picture.contiguous().numpy()).save(content, "WEBP", quality=_QUALITY)
    return _uri(content.getvalue())


def _uri(content: bytes) -> str:
    return f"data:image/webp;base64,{base64.b64encode(content).decode()}"
