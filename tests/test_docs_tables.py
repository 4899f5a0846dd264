"""Tables in the docs that are derived from registries are up to date: `make docs` writes them."""

import importlib.util
from pathlib import Path

import pytest

DOCS = Path(__file__).parent.parent / "docs"
_spec = importlib.util.spec_from_file_location("docs_tables", DOCS / "tables.py")
tables = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(tables)


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=lambda page: page.stem)
def test_tables_are_up_to_date(page: Path):
    text = page.read_text(encoding="utf-8")
    assert tables.written(text) == text, "run `make docs`"


def test_every_table_stands_in_a_page():
    pages = "".join(page.read_text(encoding="utf-8") for page in DOCS.glob("*.md"))
    assert all(f"<!-- table: {name} -->" in pages for name in tables.TABLES)
