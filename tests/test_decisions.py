"""Every decision record is in the index, has its four parts, and names tests and benchmarks that there are."""

import re
from importlib.util import find_spec
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
FOLDER = TESTS.parent / "docs" / "decisions"
RECORDS = sorted(FOLDER.glob("[0-9]*.md"))


def title(record):
    return record.read_text(encoding="utf-8").splitlines()[0].removeprefix("# ")


def test_the_index_is_complete_and_numbers_have_no_gaps():
    index = (FOLDER / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| \[(\d+)\]\((.+)\) \| (.+) \|$", index, flags=re.MULTILINE)
    assert [f"{number} {decision}" for number, _, decision in rows] == [title(record) for record in RECORDS]
    assert [file for _, file, _ in rows] == [record.name for record in RECORDS]
    assert [int(number) for number, _, _ in rows] == list(range(1, len(RECORDS) + 1))


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.stem)
def test_a_record_has_four_parts_and_fits_on_a_page(record):
    text = record.read_text(encoding="utf-8")
    assert re.findall(r"^\*\*(\w+)\.\*\*", text, flags=re.MULTILINE) == [
        "Context",
        "Decision",
        "Consequences",
        "Tested",
    ]
    assert len(text.splitlines()) <= 25
    assert title(record)[:4] == record.name[:4]


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.stem)
def test_what_a_record_points_to_exists(record):
    text = record.read_text(encoding="utf-8")
    tests = re.findall(r"`(test_\w+\.py)::(\w+)`", text)
    assert tests
    for file, name in tests:
        sources = [path.read_text(encoding="utf-8") for path in TESTS.rglob(file)]
        assert any(re.search(rf"(def|class) {name}\b", source) for source in sources), f"{file}::{name}"
    for benchmark in re.findall(r"python -m benchmarks --only (\w+)", text):
        assert find_spec(f"benchmarks.{benchmark}"), benchmark
    for link in re.findall(r"\]\(([^)]+)\)", text):
        assert (FOLDER / link).exists(), link
