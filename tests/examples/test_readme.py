"""Everything that README.md shows runs, exists, or is what the classes say."""

import importlib.util
import re
from pathlib import Path

import lightning as L
import pytest
import yaml

from lightning_xai import ExplanationMonitor

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
GROUPS = (ROOT / "docs" / "groups.md").read_text(encoding="utf-8")


def blocks(language, text=README):
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)


def tables():
    spec = importlib.util.spec_from_file_location("class_tables", ROOT / "docs" / "class_tables.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("code", [*blocks("python"), *blocks("python", GROUPS)])
@pytest.mark.filterwarnings("ignore:[\\s\\S]*litlogger")
def test_python_runs(code, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "README.md", "exec"), {})


def test_the_first_snippet_is_what_the_project_promises():
    names = {}
    exec(blocks("python")[0], names)
    callbacks = {type(callback).__name__: callback for callback in names["trainer"].callbacks}
    assert isinstance(names["trainer"], L.Trainer)
    assert isinstance(callbacks["ExplanationMonitor"], ExplanationMonitor)
    for name in ("EarlyStopping", "ModelCheckpoint"):
        assert callbacks[name].monitor == "xai/faithfulness"
        assert callbacks[name].mode == "max"


def test_commands_name_what_exists():
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    commands = "\n".join(blocks("bash"))
    for target in re.findall(r"^make (\w+)", commands, flags=re.MULTILINE):
        assert target in targets
    presets = re.findall(r"--config (callbacks/\S+)", commands)
    assert len(presets) == 2
    for preset in presets:
        assert "callbacks+" in yaml.safe_load((ROOT / preset).read_text())["trainer"]
    project = (ROOT / "pyproject.toml").read_text()
    for extra in re.findall(r'"\.\[(\w+)\]"', commands):
        assert re.search(rf"^{extra} = \[", project, flags=re.MULTILINE), extra


def test_links_and_pictures_exist():
    paths = re.findall(r"\]\((?!https?:)([^)#]+)\)", README) + re.findall(r'src="([^"]+)"', README)
    assert len(paths) > 8
    for path in paths:
        assert (ROOT / path).exists(), path
    pages = README + "".join(page.read_text(encoding="utf-8") for page in (ROOT / "docs").glob("*.md"))
    for picture in (ROOT / "docs" / "images").iterdir():
        assert picture.stat().st_size < 400_000, picture.name
        assert f"images/{picture.name})" in pages or f'images/{picture.name}"' in pages, f"{picture.name} is not shown"


def test_every_logged_key_is_explained():
    section = README.split("## What is logged")[1].split("\n## ")[0]
    cells = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    explained = {key for cell in cells for key in re.findall(r"`([^`]+)`", cell)} - {"heatmaps", "filmstrip"}
    groups = {key.removesuffix("…") for key in explained if key.endswith("…")}
    logged = {key.removeprefix("xai/") for key in ExplanationMonitor(max_overhead=0.05).keys.all(annotated=True)}
    singles = {key for key in logged if not key.startswith(tuple(groups))}
    by_settings = {"heat_in/", "reliance/", "worst_class/", "worst_group/", "gap/"}
    assert groups == {"control/", "undefined/"} | by_settings
    assert explained - {f"{group}…" for group in groups} == singles


def test_tables_are_what_the_classes_say():
    module = tables()
    for page in module.FILES:
        text = page.read_text(encoding="utf-8")
        assert "<!--" in text
        assert module.refreshed(text) == text, f"run `python docs/class_tables.py` to refresh {page.name}"


def test_the_default_metrics_are_those_of_the_monitor():
    suite = ExplanationMonitor().plan.metrics(annotated=True)
    table = README.split("<!-- default metrics -->")[1].split("<!-- /default metrics -->")[0]
    assert {metric.alias for metric in suite.values()} == set(
        re.findall(r"^\| \w+ \| `(\w+)`", table, flags=re.MULTILINE)
    )
