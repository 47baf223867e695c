"""Networks of a comparison, by name: modules, factories, checkpoints, class paths, names of torchvision and timm."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, TypeAlias

from torch import nn

from lightning_xai._checks import check_name, nearest
from lightning_xai._registry import alias_of
from lightning_xai.comparison.checkpoints import CHECKPOINT, checkpoints_by_name, is_pattern

ModelSource: TypeAlias = nn.Module | str | Path | Callable[[], nn.Module]
Models: TypeAlias = ModelSource | Iterable[ModelSource] | Mapping[str, ModelSource]

_LIBRARIES = ("torchvision", "timm")
_FOLDERS_ABOVE = 3  # lightning_logs/version_0/checkpoints/a.ckpt has its config.yaml two above
FORMS = (
    "a module, a function that returns one, a checkpoint (`runs/a.ckpt` of a LightningCLI run, or "
    "`my_package.MyModule@runs/a.ckpt`), all of a training (`runs/version_0/checkpoints/*.ckpt`), a class path "
    "(`my_package.MyModule`), `torchvision/resnet18` or `timm/resnet50`"
)


def models_by_name(models: Models) -> dict[str, ModelSource]:
    """Return what each model comes from by a name: the file's, the class's, or the given one.

    A pattern of checkpoints, such as ``runs/version_0/checkpoints/*.ckpt``, stands for each of them in the order of
    their training, named by its epoch: ``epoch_3``, and with its run, ``version_0/epoch_3``, where there are others.

    Raises:
        TypeError: If an entry is none of the forms that are known.
        ValueError: If there is none, two have one name, or a pattern stands for nothing.
    """
    if isinstance(models, Mapping):
        entries = [(check_name(name, "models"), source) for name, source in models.items()]
    else:
        sources = [models] if isinstance(models, (nn.Module, str, Path)) or callable(models) else models
        entries = [("", source) for source in sources]
    named: dict[str, ModelSource] = {}
    is_only = len(entries) == 1
    for name, source in (pair for entry in entries for pair in _each_of(*entry, is_only=is_only)):
        if name in named:
            raise ValueError(f"Expected `models` with different names, but got two {name!r}. Pass a dict.")
        named[name] = source
    if not named:
        raise ValueError("Expected `models` to hold at least one model, but got none.")
    for source in named.values():
        if not (isinstance(source, (nn.Module, str, Path)) or callable(source)):
            raise TypeError(f"Expected each of `models` to be {FORMS}, but got {type(source).__name__}.")
    return named


def loaded_model(source: ModelSource) -> nn.Module:
    """Return the module that a source stands for.

    Raises:
        ValueError: If a name is unknown, or a checkpoint does not say of which class it is.
        TypeError: If a factory returns no module.
    """
    if isinstance(source, nn.Module):
        return source
    model = _from_words(str(source)) if isinstance(source, (str, Path)) else source()
    if not isinstance(model, nn.Module):
        raise TypeError(f"Expected {source!r} to return a torch.nn.Module, but got {type(model).__name__}.")
    return model


def _each_of(name: str, source: ModelSource, *, is_only: bool) -> list[tuple[str, ModelSource]]:
    """Return each checkpoint of a pattern with its name; anything else as it is."""
    if not isinstance(source, (str, Path)) or not is_pattern(str(source)):
        return [(name or _name_of(source), source)]
    return list(checkpoints_by_name(str(source), name, is_only=is_only).items())


def _name_of(source: ModelSource) -> str:
    if isinstance(source, nn.Module):
        return alias_of(type(source))
    if isinstance(source, (str, Path)):
        text = str(source).removesuffix("/").rpartition("@")[2]
        if _is_checkpoint(text):
            return Path(text).stem
        package, _, name = text.partition("/")
        words = _name_and_weights(name if package in _LIBRARIES else text)[0]
        return check_name(words.replace(":", ".").rpartition(".")[2], "models")
    return getattr(source, "__name__", type(source).__name__).strip("<>")


def _is_checkpoint(text: str) -> bool:
    place = text.rpartition("@")[2]
    return place.endswith(CHECKPOINT) or Path(place).is_dir()


def _from_words(text: str) -> nn.Module:
    package, _, name = text.partition("/")
    if package == "torchvision" and name:
        return _from_torchvision(*_name_and_weights(name))
    if package == "timm" and name:
        return _from_timm(*_name_and_weights(name))
    if _is_checkpoint(text):
        return _from_checkpoint(text)
    if "." in text:
        model: nn.Module = imported(text)()
        return model
    return _from_torchvision(*_name_and_weights(text))


def _name_and_weights(text: str) -> tuple[str, str]:
    name, _, weights = text.partition("/")
    return name, weights or "DEFAULT"


def _from_torchvision(name: str, weights: str) -> nn.Module:
    from torchvision.models import get_model, list_models

    if name not in list_models():
        hint = nearest(name, list_models())
        raise ValueError(f"Expected each of `models` to be {FORMS}, but got {name!r}.{hint}")
    model: nn.Module = get_model(name, weights=None if weights == "none" else weights)
    return model


def _from_timm(name: str, weights: str) -> nn.Module:
    try:
        from timm import create_model
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("Expected timm for `timm/...`, but it is not installed: pip install timm") from error
    return create_model(name, pretrained=weights != "none")


def _from_checkpoint(text: str) -> nn.Module:
    class_path, _, place = text.rpartition("@")
    path = _checkpoint_in(Path(place))
    config: dict[str, Any] = cli_config(path).get("model") or {}
    arguments: dict[str, Any] = config.get("init_args", {} if "class_path" in config else config)
    if not class_path:
        class_path = config.get("class_path", "")
    if not class_path:
        raise ValueError(
            f"Expected {text!r} to say of which class it is: no config.yaml of a LightningCLI with `model.class_path` "
            f"is near it. Pass `my_package.MyModule@{place}`."
        )
    kind = imported(class_path)
    made = {name: instantiated(value) for name, value in arguments.items()}
    model: nn.Module = kind.load_from_checkpoint(path, map_location="cpu", **made)
    return model


def _checkpoint_in(place: Path) -> Path:
    """Return the checkpoint that is meant: the file itself, or the only one, else ``last.ckpt``, of a run's folder."""
    if not place.is_dir():
        return place
    found = sorted(place.rglob(f"*{CHECKPOINT}"))
    last = [path for path in found if path.stem == "last"]
    if len(found) == 1 or len(last) == 1:
        return found[0] if len(found) == 1 else last[0]
    listed = ", ".join(str(path.relative_to(place)) for path in found) or "none"
    raise ValueError(f"Expected one checkpoint, or one `last.ckpt`, below {place}, but found {listed}: name the file.")


def cli_config(path: Path) -> dict[str, Any]:
    """Return the config that a LightningCLI wrote for a checkpoint's run; empty if there is none."""
    for folder in list(path.parents)[:_FOLDERS_ABOVE]:
        file = folder / "config.yaml"
        if file.is_file():
            import yaml

            config: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
            return config
    return {}


def instantiated(value: Any) -> Any:
    """Return a value of a config in which every mapping with a ``class_path`` is an object of that class."""
    if isinstance(value, list):
        return [instantiated(part) for part in value]
    if isinstance(value, dict):
        parts = {name: instantiated(part) for name, part in value.items() if name != "class_path"}
        return imported(value["class_path"])(**parts.get("init_args", {})) if "class_path" in value else parts
    return value


def imported(path: str) -> Any:
    """Return the object of a dotted path, such as ``my_package.module.MyModule`` (a colon may precede the last name).

    Raises:
        ValueError: If there is none.
    """
    module, _, name = path.replace(":", ".").rpartition(".")
    try:
        return getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"Expected {path!r} to be the path of something that can be imported: {error}.") from error
