"""What a user's type checker and editor see: two checkers read files as a user writes them."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import lightning_xai
from lightning_xai import functional

HERE, ROOT = Path(__file__).parent, Path(__file__).parents[2]
FILES = ("right.py", "wrong.py", "public.py")


@pytest.fixture
def folder(tmp_path):
    """The two files, and one that asks for the type of every public name."""
    for name in FILES[:2]:
        (tmp_path / name).write_text((HERE / name).read_text(encoding="utf-8"), encoding="utf-8")
    names = [f"xai.{name}" for name in dir(lightning_xai)] + [f"functional.{name}" for name in dir(functional)]
    asked = "".join(f"reveal_type({name})\n" for name in names)
    (tmp_path / "public.py").write_text(f"import lightning_xai as xai\nfrom lightning_xai import functional\n{asked}")
    return tmp_path


def marked():
    lines = (HERE / "wrong.py").read_text(encoding="utf-8").splitlines()
    return {number for number, line in enumerate(lines, 1) if line.endswith("# wrong")}


def assert_as_written(errors, revealed):
    assert errors["right.py"] == {}
    assert set(errors["wrong.py"]) == marked()
    assert len(marked()) >= 20
    assert errors["public.py"] == {}
    assert len(revealed) == len(dir(lightning_xai)) + len(dir(functional))
    assert not [said for said in revealed if re.fullmatch(r"(Any|Unknown|object|ModuleType)", said)], revealed


def test_mypy(folder):
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--no-error-summary", "--no-pretty"]
    command += ["--cache-dir", str(ROOT / ".mypy_cache"), "--ignore-missing-imports", *FILES]
    command += [
        "--follow-imports",
        "silent",
    ]  # bodies of our functions are not checked again, as where we are installed
    environment = {"MYPYPATH": str(ROOT), "PATH": "", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    errors, revealed = {name: {} for name in FILES}, []
    for line in done.stdout.splitlines():
        name, number, kind, said = re.match(r"([^:]+):(\d+): (\w+): (.*)", line).groups()
        if said.startswith("Revealed type is"):
            revealed.append(said.split('"')[1])
        elif kind == "error":
            assert name in errors, done.stdout
            errors[name][int(number)] = said
    assert not done.stderr
    assert_as_written(errors, revealed)


@pytest.mark.skipif(importlib.util.find_spec("basedpyright") is None, reason="basedpyright is not installed")
def test_basedpyright(folder):
    settings = {"typeCheckingMode": "standard", "include": list(FILES), "extraPaths": [str(ROOT)]}
    (folder / "pyrightconfig.json").write_text(json.dumps({**settings, "reportAttributeAccessIssue": "error"}))
    command = [sys.executable, "-m", "basedpyright", "--outputjson", "--pythonpath", sys.executable]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    errors, revealed = {name: {} for name in FILES}, []
    for found in json.loads(done.stdout)["generalDiagnostics"]:
        name, number = Path(found["file"]).name, found["range"]["start"]["line"] + 1
        if found["severity"] == "information":
            revealed.append(re.match(r'Type of "[^"]+" is "(.*)"', found["message"], re.DOTALL)[1])
        elif found["severity"] == "error":
            errors[name][number] = found["message"]
    assert_as_written(errors, revealed)
