"""The version stands in one place, and of every dependency the lowest version that works is named."""

import importlib.util
import re
import sys
from pathlib import Path

import pytest

import lightning_xai

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = PYPROJECT["project"]


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("lowest_bounds", ROOT / ".ci" / "lowest_bounds.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_version_is_read_from_the_package():
    """Not compared with `importlib.metadata`: what an editable install remembers is the version of another day."""
    source = ROOT / PYPROJECT["tool"]["hatch"]["version"]["path"]
    assert "version" not in PROJECT
    assert PROJECT["dynamic"] == ["version"]
    assert source.samefile(lightning_xai.__file__)
    written = re.findall(r'^__version__ = "(.+)"$', source.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert written == [lightning_xai.__version__]


def test_every_dependency_has_one_lowest_version(script):
    """Counted from the text of the file, without the parser of requirements."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8").split("[project]")[1].split("[tool.")[0]
    declared = re.findall(r'^ *(?:\w+ = \[)?"([\w-]+)(?:\[\w+\])?>=([\d.]+)"', text, flags=re.MULTILINE)
    assert len(declared) > 20
    assert sorted(script.constraints(PROJECT)) == sorted({f"{name.lower()}=={version}" for name, version in declared})


def test_the_highest_of_several_bounds_is_in_force(script):
    project = {
        "name": "mine",
        "dependencies": ["Some_Package>=1.9", "other~=2.1,<3", "mine[extra]"],
        "optional-dependencies": {"extra": ["some-package[more]>=1.10"]},
    }
    assert script.constraints(project) == ["other==2.1", "some-package==1.10"]


@pytest.mark.parametrize("need", ["numpy", "numpy<3", "numpy!=1.25"])
def test_a_dependency_without_a_lower_bound_is_refused(script, need):
    with pytest.raises(ValueError, match=rf"^Expected `{need}` to have a lower bound in pyproject.toml, such as"):
        script.constraints({"name": "mine", "dependencies": [need]})
