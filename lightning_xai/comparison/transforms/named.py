"""Transforms of a comparison by name: objects, functions, words such as ``rotation:15``, class paths."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

from lightning_xai._checks import check_choice, check_name
from lightning_xai.comparison.cell import NO_TRANSFORM
from lightning_xai.comparison.models import imported
from lightning_xai.comparison.transforms.registry import TRANSFORMS
from lightning_xai.comparison.transforms.transform import Transform
from lightning_xai.probing.sample import Sample

TransformSource: TypeAlias = Transform | Callable[[Sample], Sample] | str | None
Transforms: TypeAlias = TransformSource | Iterable[TransformSource] | Mapping[str, TransformSource]
AnyTransform: TypeAlias = Transform | Callable[[Sample], Sample] | None


def transforms_by_name(transforms: Transforms) -> dict[str, AnyTransform]:
    """Return transforms by name; None, named ``"none"``, stands for unchanged images.

    Args:
        transforms: One or several of a `Transform`, a function of a `Sample`, an alias with the value of its first
            setting (``"rotation:15"``), the path of a class or function, None or ``"none"``; or a mapping of names to
            these. None alone for unchanged images only.

    Raises:
        TypeError: If one is none of these.
        ValueError: If there is none, a word is unknown, or two have one name.
    """
    if isinstance(transforms, Mapping):
        named = {check_name(name, "transforms"): _made(one, name) for name, one in transforms.items()}
    else:
        named = {}
        is_one = transforms is None or isinstance(transforms, (str, Transform)) or callable(transforms)
        sources: Any = [transforms] if is_one else transforms
        for source in sources:
            transform = _made(source, "transforms")
            name = check_name(_name_of(transform), "transforms")
            if name in named:
                raise ValueError(f"Expected `transforms` with different names, but got two {name!r}. Pass a dict.")
            named[name] = transform
    if not named:
        raise ValueError("Expected `transforms` to hold at least one, but got none: leave it out for unchanged images.")
    return named


def _made(source: TransformSource, name: str) -> AnyTransform:
    if source is None or source == NO_TRANSFORM:
        return None
    made = _from_word(source) if isinstance(source, str) else source
    if not callable(made):
        raise TypeError(
            "Expected `transforms` to hold transforms, functions of a Sample, or words such as 'rotation:15', but "
            f"{name!r} is a {type(made).__name__}."
        )
    return made


def _name_of(transform: AnyTransform) -> str:
    if transform is None:
        return NO_TRANSFORM
    if isinstance(transform, Transform):
        return transform.name
    return getattr(transform, "__name__", type(transform).__name__).strip("<>")


def _from_word(word: str) -> Any:
    """Return the transform of ``alias``, ``alias:value``, or of a path."""
    alias, _, value = word.partition(":")
    if alias not in TRANSFORMS.names() and "." in alias:
        found = imported(word)
        return found() if isinstance(found, type) else found
    check_choice(alias, [*TRANSFORMS.names(), NO_TRANSFORM], "transforms")
    kind: Callable[..., Transform] = TRANSFORMS.load(alias)
    try:
        return kind(_number(value)) if value else kind()
    except TypeError as error:
        raise ValueError(
            f"Expected `transforms` to say how strong {alias!r} is, such as '{alias}:0.5', but got {word!r}: {error}"
        ) from error


def _number(text: str) -> float:
    try:
        return int(text)
    except ValueError:
        return float(text)
