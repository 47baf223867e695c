"""Print the lowest version that pyproject.toml allows of every dependency, as constraints for pip.

``make test-lowest`` installs these and runs the tests, so that each bound was tried. A dependency without a lower bound
would be promised in every version there ever was: it is an error.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"


def declared(project: dict) -> Iterator[Requirement]:
    """Yield every requirement of the package and its extras, but for those on the package's own extras."""
    own = canonicalize_name(project["name"])
    for group in (project["dependencies"], *project.get("optional-dependencies", {}).values()):
        yield from (need for need in map(Requirement, group) if canonicalize_name(need.name) != own)


def lower_bound(need: Requirement) -> Version:
    """Return the version after ``>=``, ``~=`` or ``==``.

    Raises:
        ValueError: If the requirement has no lower bound.
    """
    lowest = [Version(bound.version) for bound in need.specifier if bound.operator in (">=", "~=", "==")]
    if not lowest:
        raise ValueError(f"Expected `{need}` to have a lower bound in pyproject.toml, such as `{need.name}>=1.0`.")
    return max(lowest)


def constraints(project: dict) -> list[str]:
    """Return one ``name==lowest`` for each dependency, sorted; of several bounds of one, the highest is in force."""
    lowest: dict[str, Version] = {}
    for need in declared(project):
        name = canonicalize_name(need.name)
        bound = lower_bound(need)
        lowest[name] = max(bound, lowest.get(name, bound))
    return [f"{name}=={bound}" for name, bound in sorted(lowest.items())]


if __name__ == "__main__":
    print("\n".join(constraints(tomllib.loads(_PYPROJECT.read_text(encoding="utf-8"))["project"])))
