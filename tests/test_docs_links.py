"""Links of the docs lead somewhere, and every decision is recorded in the same form."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "benchmarks").rglob("*.md")]
DECISIONS = ROOT / "docs" / "decisions"
RECORDS = sorted(DECISIONS.glob("[0-9]*.md"))
HEADINGS = ["Context", "Decision", "Measurements", "Consequences", "When to revisit"]
PATH = re.compile(r"`((?:[\w.-]+/)+[\w.-]*)`")  # `_engine/step.py`, `runs/`


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_to_files(page: Path):
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8"))
    missing = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert not missing


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.stem)
def test_a_decision_says_why_by_which_figures_and_until_when(record: Path):
    lines = record.read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith(f"# {record.stem[:3]}. ")
    assert [line[3:] for line in lines if line.startswith("## ")] == HEADINGS
    assert len(lines) <= 45


def test_the_index_lists_every_decision():
    index = (DECISIONS / "README.md").read_text(encoding="utf-8")
    listed = re.findall(r"\((\d{3}-.*?\.md)\)", index)
    assert sorted(listed) == [record.name for record in RECORDS]
    numbers = [record.name[:3] for record in RECORDS]
    assert len(set(numbers)) == len(numbers)


def test_the_map_names_paths_that_exist():
    """Of the repository, of the package, or below one of its folders (`kinds/`)."""
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    source = ROOT / "src" / "kilter"
    missing = [path for path in PATH.findall(text) if not (ROOT / path).exists()]
    assert not [path for path in missing if not any(source.glob(path)) and not any(source.rglob(path))]


def test_the_map_names_every_folder_and_module_of_the_package():
    table = (
        (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8").partition("## The path of a batch")[0]
    )
    source = ROOT / "src" / "kilter"
    parts = {path.stem for path in source.glob("*.py")} | {
        path.parent.name for path in source.glob("*/__init__.py")
    }
    assert {part for part in parts - {"__init__"} if not re.search(rf"`{part}(/|\.py)?`", table)} == set()
