"""Imports point down only, and nothing heavy is imported before it is used."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import get_args

import pytest

import lightning_xai
from lightning_xai import functional
from lightning_xai._registry import alias_of
from lightning_xai.aliases import ExplainerAlias, MetricAlias
from lightning_xai.explainers import get_explainer, list_explainers
from lightning_xai.metrics import get_metric, list_metrics

PACKAGE = Path(lightning_xai.__file__).parent
# From the bottom up: a layer imports those before it.
ORDER = (
    "datasets",
    "model",
    "explainers",
    "evidence",
    "metrics",
    "probing",
    "visualization",
    "loggers",
    "reports",
    "comparison",
    "callbacks",
    "studies",
    "cli",
)
WITHOUT_LIGHTNING = ("datasets", "model", "explainers", "evidence", "metrics", "probing", "visualization", "comparison")
HEAVY = [
    "lightning",
    "pytorch_lightning",
    "torchmetrics",
    "wandb",
    "captum",
    "matplotlib",
    "scipy",
    "skimage",
    "tensorboard",
    "torchvision",
]


def imported(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def layer_of(module):
    parts = module.split(".")
    if parts[0] != "lightning_xai" or len(parts) < 2 or not (PACKAGE / parts[1]).is_dir():
        return None
    return parts[1]


def upward_imports(path, layer):
    allowed = {*ORDER[: ORDER.index(layer) + 1], None}
    return [name for name in imported(path) if layer_of(name) not in allowed]


@pytest.mark.parametrize("layer", sorted(p.name for p in PACKAGE.iterdir() if (p / "__init__.py").exists()))
def test_imports_point_down(layer):
    found = {str(path.relative_to(PACKAGE)): upward_imports(path, layer) for path in (PACKAGE / layer).rglob("*.py")}
    assert found
    assert not any(found.values()), found


@pytest.mark.parametrize("layer", WITHOUT_LIGHTNING)
def test_what_knows_nothing_of_lightning(layer):
    names = {name.split(".")[0] for path in (PACKAGE / layer).rglob("*.py") for name in imported(path)}
    assert "torch" in names
    assert not {
        name for name in names if name.split(".")[0] in {"lightning", "pytorch_lightning", "lightning_utilities"}
    }


def test_neither_lightning_is_imported():
    """What a user has imported is found by `lightning_xai._lightning`, which names it for type checkers alone."""
    packages = {"lightning", "pytorch_lightning", "lightning_fabric"}
    importing = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        if packages & {name.split(".")[0] for name in imported(path)}
    }
    assert importing == {"_lightning.py"}


def imported_at_once(path):
    """What a module imports while it is imported itself: not in functions, nor for type checkers only."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
            yield node.module


def circles(graph):
    """What is left of a graph, name -> names, without those from which no way leads into a circle."""
    while leaves := {name for name, others in graph.items() if not others}:
        graph = {name: others - leaves for name, others in graph.items() if name not in leaves}
    return graph


def test_no_modules_import_each_other_in_a_circle():
    def module_of(path):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

    modules = {module_of(path): path for path in PACKAGE.rglob("*.py")}
    graph = {name: {other for other in imported_at_once(path) if other in modules} for name, path in modules.items()}
    assert sum(map(len, graph.values())) > 500
    assert not circles(graph)


@pytest.mark.parametrize(
    "layer", ["callbacks", "comparison", "datasets", "evidence", "explainers", "metrics", "reports", "studies"]
)
def test_no_folders_import_each_other_in_a_circle(layer):
    """Inside a layer too: of its folders, and of its files beside them, none imports one that imports it."""
    place = PACKAGE / layer
    graph = {path.stem: set() for path in place.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    for path in place.rglob("*.py"):
        own = path.relative_to(place).parts[0].removesuffix(".py")
        names = [name.split(".") for name in imported_at_once(path)]
        graph[own] |= {name[2] for name in names if name[1:2] == [layer] and name[2:] and name[2] in graph} - {own}
    assert any(graph.values())
    assert not circles(graph)


def test_private_modules_at_the_top_import_no_layer():
    for path in set(PACKAGE.glob("_*.py")) - {PACKAGE / "__init__.py", PACKAGE / "__main__.py"}:
        assert all(layer_of(name) is None for name in imported(path)), path.name


def test_the_check_sees_an_upward_import(tmp_path):
    (tmp_path / "bad.py").write_text("def f():\n    from lightning_xai.callbacks import ExplanationMonitor\n")
    assert upward_imports(tmp_path / "bad.py", "reports")
    (tmp_path / "bad.py").write_text("import lightning_xai.evidence.case\n")
    assert upward_imports(tmp_path / "bad.py", "explainers")
    assert not upward_imports(tmp_path / "bad.py", "metrics")


def test_importing_and_explaining_import_nothing_heavy():
    loaded = f"print(sorted(m for m in {HEAVY!r} if m in sys.modules))"
    code = (
        f"import sys, torch, lightning_xai as x\ndir(x)\n{loaded}\n"
        "net = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())\n"
        f"x.GradCAM()(net, torch.ones(1, 1, 8, 8), target=0)\n{loaded}"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n[]\n"


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".model",
        ".explainers",
        ".evidence",
        ".metrics",
        ".probing",
        ".reports",
        ".comparison",
        ".studies",
        ".callbacks",
        ".functional",
    ],
    ids=str,
)
def test_every_public_name_resolves(name):
    package = importlib.import_module(f"lightning_xai{name}")
    assert dir(package) == sorted(dir(package)) == sorted(package.__all__)
    for public in dir(package):
        assert not isinstance(getattr(package, public), ModuleType)  # a submodule of this name would hide it
    with pytest.raises(AttributeError, match="has no attribute 'GradCam'"):
        _ = package.GradCam


def test_public_names_of_the_package_are_those_of_its_layers():
    for name in dir(lightning_xai):
        loaded = getattr(lightning_xai, name)
        assert loaded.__name__ == name
        assert loaded.__module__.startswith("lightning_xai.")
    assert set(list_metrics()) == set(dir(functional))


@pytest.mark.parametrize(
    ("literal", "names", "get"),
    [(ExplainerAlias, list_explainers, get_explainer), (MetricAlias, list_metrics, get_metric)],
    ids=["explainers", "metrics"],
)
def test_aliases_are_the_registry_and_the_snake_case_of_the_class(literal, names, get):
    assert list(get_args(literal)) == names()
    for alias in names():
        made = get(alias)
        assert alias_of(type(made)) == alias
        assert getattr(lightning_xai, type(made).__name__) is type(made)


def test_aliases_of_classes_defined_elsewhere():
    for name, alias in [("MyGradCAM", "my_grad_cam"), ("SHAP2Map", "shap2_map"), ("Plain", "plain")]:
        assert alias_of(type(name, (), {"__module__": "user.code"})) == alias
