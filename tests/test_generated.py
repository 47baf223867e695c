"""What is generated is committed as it would be generated now."""

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def _stubs():
    spec = importlib.util.spec_from_file_location("stubs", ROOT / "docs" / "stubs.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.stubs()


@pytest.mark.parametrize("path", list(_stubs()), ids=lambda path: str(path.relative_to(ROOT)))
def test_stubs(path):
    assert path.read_text(encoding="utf-8") == _stubs()[path], "run `python docs/stubs.py` to refresh the stubs"


def test_every_package_with_lazy_names_has_a_stub():
    lazy = {path.parent for path in (ROOT / "lightning_xai").rglob("__init__.py") if "lazy_names(" in path.read_text()}
    assert {path.parent for path in _stubs() if path.name == "__init__.pyi"} == lazy
