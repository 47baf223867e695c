"""The commands: what there is, comparing explainers, papers as studies, and the report of finished checkpoints."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from lightning_xai.cli.allocator import keep_freed_memory

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace

_STOPPED = 130  # what shells expect of Ctrl-C
_KEPT = "What is finished is kept: the same command goes on from there."
_COMMANDS = {  # name -> its module, and a line about it
    "compare": ("compare", "Compare explainers by metrics, over models and images."),
    "explain": ("explain", "Write the report of finished checkpoints."),
    "study": ("study", "Run a paper's study: tables, figures, claims."),
    "list": ("listing", "List explainers, metrics, transforms, studies, or the layers of a model."),
}
_SEVERAL = (
    "--models",
    "--checkpoint",
    "--data",
    "--explainers",
    "--metrics",
    "--targets",
    "--transforms",
    "--only",
    "--image_size",
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status.

    0, 1 if a cell or a checkpoint failed or a file could not be written, 2 for wrong arguments, 130 when stopped.

    Args:
        arguments: Those of the process if None.
    """
    if find_spec("jsonargparse") is None:
        sys.stderr.write('Expected jsonargparse, but it is not installed: pip install "lightning-xai[cli]"\n')
        return 2
    given = sys.argv[1:] if arguments is None else list(arguments)
    parser = _parser(given)
    parsed = parser.parse_args(with_lists(given))
    made = getattr(parser, "instantiate", parser.instantiate_classes)(parsed)
    keep_freed_memory()
    try:
        work = _prepared(made)
        return 2 if work is None else work()
    except KeyboardInterrupt:
        sys.stderr.write(f"Stopped. {_KEPT}\n")
        return _STOPPED
    except OSError as error:  # a full disk, a folder that is gone: what models and explainers raise is in the table
        sys.stderr.write(f"lightning-xai: error: {error}. {_KEPT}\n")
        return 1


def _prepared(made: Namespace) -> Callable[[], int] | None:
    """Return what a command does; None after telling what is wrong with its arguments."""
    try:
        prepare: Callable[[Namespace], Callable[[], int]] = _module(made.subcommand).prepared
        return prepare(made[made.subcommand])
    except (ValueError, TypeError, ModuleNotFoundError, OSError) as error:
        sys.stderr.write(f"lightning-xai: error: {error}\n")
        return None


def with_lists(arguments: Sequence[str]) -> list[str]:
    """Return arguments in which several values after one option are one list: ``--metrics a b`` is that of a and b.

    Example:
        >>> with_lists(["compare", "--metrics", "haas", "road", "--seed", "1"])
        ['compare', '--metrics=["haas", "road"]', '--seed', '1']
    """
    joined: list[str] = []
    left = list(arguments)
    several = [option for option in _SEVERAL if (left[:1], option) != (["explain"], "--data")]  # which is one class
    while left:
        option = left.pop(0)
        values = []
        while option in several and left and not left[0].startswith("--"):
            values.append(left.pop(0))
        is_list = bool(values) and not (len(values) == 1 and values[0].startswith(("[", "{")))
        if values:
            joined.append(f"{option}={json.dumps(values) if is_list else values[0]}")
        else:
            joined.append(option)
    return joined


def _parser(given: Sequence[str]) -> ArgumentParser:
    """Return the parser; of commands that the arguments do not name only the line about each, which loads nothing."""
    from jsonargparse import ArgumentParser

    parser = ArgumentParser(
        prog="lightning-xai", description="Explanations of image classifiers, and what they are worth."
    )
    commands = parser.add_subcommands()
    for name, (_, line) in _COMMANDS.items():
        commands.add_subcommand(name, _module(name).parser() if name in given else ArgumentParser(), help=line)
    return parser


def _module(command: str) -> Any:
    """Return the module of a command, which takes seconds to load."""
    return import_module(f"lightning_xai.cli.{_COMMANDS[command][0]}")
