"""Studies as files: ``<name>/study.yaml`` says what is run, ``printed.csv`` what the paper prints."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning_xai._checks import check_choice

_FOLDER = Path(__file__).parent
_FILE = "study.yaml"
_PLACE = re.compile(r"\$\{(\w+)\}")


def list_studies() -> list[str]:
    """Return the names of the studies that the package brings.

    Example:
        >>> "hirescam" in list_studies()
        True
    """
    return sorted(path.parent.name for path in _FOLDER.glob(f"*/{_FILE}"))


def folder_of(study: str | Path) -> Path:
    """Return the folder of a study: one of `list_studies`, or a folder of the user's own with a ``study.yaml``.

    Raises:
        ValueError: If there is none.
    """
    if Path(study).is_dir() and (Path(study) / _FILE).is_file():
        return Path(study)
    check_choice(str(study), list_studies(), "study")
    return _FOLDER / str(study)


def read_declaration(folder: Path, scale: str, places: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a study declares at a scale: what it says of all scales, with what it says of this one laid over it.

    Mappings are merged, everything else is replaced, and what a scale sets to null is gone. In texts ``${name}`` stands
    for one of ``places``.

    Args:
        folder: Of the study.
        scale: ``"small"``, ``"medium"``, ``"paper"`` or another one that the study has.
        places: Name -> value; None where it was not given.

    Raises:
        ValueError: If the study has no such scale, or needs a place that was not given.
    """
    import yaml

    declared: dict[str, Any] = yaml.safe_load((folder / _FILE).read_text(encoding="utf-8"))
    scales: dict[str, Any] = declared.pop("scales")
    check_choice(scale, tuple(scales), "scale")
    own = scales[scale] or {}
    base = read_declaration(folder, own.pop("like"), places) if "like" in own else _filled(declared, places)
    return {**merged(base, _filled(own, places)), "scale": scale}


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return one mapping laid over another.

    Example:
        >>> merged({"a": {"b": 1, "c": 2}, "d": 3}, {"a": {"b": 4, "c": None}})
        {'a': {'b': 4}, 'd': 3}
    """
    found = dict(base)
    for name, value in over.items():
        if value is None:
            found.pop(name, None)
        elif isinstance(value, Mapping) and isinstance(found.get(name), Mapping) and "class_path" not in value:
            found[name] = merged(found[name], value)
        else:
            found[name] = merged({}, value) if isinstance(value, Mapping) and "class_path" not in value else value
    return found


def _filled(value: Any, places: Mapping[str, Any]) -> Any:
    """Return a value in whose texts every ``${name}`` is what stands for it."""
    if isinstance(value, Mapping):
        return {name: _filled(part, places) for name, part in value.items()}
    if isinstance(value, list):
        return [_filled(part, places) for part in value]
    if not isinstance(value, str):
        return value
    whole = _PLACE.fullmatch(value)
    return _place(whole[1], places) if whole else _PLACE.sub(lambda found: str(_place(found[1], places)), value)


def _place(name: str, places: Mapping[str, Any]) -> Any:
    check_choice(name, tuple(places), "a place of a study")
    if places[name] is None:
        raise ValueError(f"Expected `{name}` for this scale of the study, but got none: pass --{name}.")
    return places[name]
