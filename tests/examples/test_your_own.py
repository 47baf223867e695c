"""Every example of docs/your_own.md runs, in order, as a reader would run them."""

import math
import re
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "your_own.md").read_text(encoding="utf-8")
COMMON, *EXAMPLES = re.findall(r"^```python\n(.*?)^```", PAGE, flags=re.DOTALL | re.MULTILINE)
TITLES = re.findall(r"^## (?:An?|Your) (\w+)$", PAGE, flags=re.MULTILINE)


@pytest.mark.parametrize("index", range(len(EXAMPLES)), ids=TITLES)
@pytest.mark.filterwarnings("ignore:[\\s\\S]*litlogger")
def test_an_example_runs_after_those_before_it(index, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = {}
    imports = [line for code in EXAMPLES[:index] for line in code.splitlines() if line.startswith("from ")]
    exec(compile("\n".join([COMMON, *imports, EXAMPLES[index]]), "your_own.md", "exec"), names)
    numbers = [float(text) for text in capsys.readouterr().out.split() if re.fullmatch(r"-?\d+\.\d+(e-\d+)?", text)]
    assert all(map(math.isfinite, numbers))
    if TITLES[index] == "report":
        assert len((tmp_path / "worst.txt").read_text().splitlines()) == 3
    else:
        assert numbers


def test_what_the_page_names_is_there():
    assert TITLES == ["explainer", "metric", "baseline", "batch", "extra", "report", "validation"]
