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


def _layers():
    spec = importlib.util.spec_from_file_location("layers", ROOT / "docs" / "layers.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["squeezenet1_1", "shufflenet_v2_x0_5"])
def test_the_page_of_layers(name):
    """Its script takes minutes: some rows stand for all."""
    layers = _layers()
    (row,) = list(layers._table([name], layers._of_torchvision))[1:]
    assert row in (ROOT / "docs" / "layers.md").read_text(encoding="utf-8").splitlines()


def test_the_page_of_layers_tries_many_networks():
    layers = _layers()
    assert len(set(layers.TIMM)) == len(layers.TIMM) > 80
    page = (ROOT / "docs" / "layers.md").read_text(encoding="utf-8")
    assert all(f"| `{name}` |" in page for name in [*layers.TORCHVISION, *layers.TIMM])
