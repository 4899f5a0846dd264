"""Writes the tables in docs/*.md that are derived from kilter's registries; `make docs` runs it.

A table stands between ``<!-- table: NAME -->`` and ``<!-- end -->``. ``tests/test_docs_tables.py`` fails if a
page differs from what this script would write.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from kilter._treatment.policy import Policy, listed
from kilter.recipe import schedule_section
from kilter.recipe.base import keys_of
from kilter.schedules.registry import SCHEDULES, schedule_kind

PAGES = Path(__file__).parent


def recipe_keys(section: type) -> str:
    """The keys of a recipe section as a table: key, default, and what its value must be."""
    rows = [
        f"| `{key}` | {_default(field)} | {field.description} |"
        for key, field in keys_of(section).items()
        if key != "name"
    ]
    return "\n".join(["| Key | Default | Value |", "|---|---|---|", *rows])


def schedule_keys() -> str:
    """The keys of every schedule that has any, under a heading each."""
    kinds = {name: schedule_section(name) for name in SCHEDULES if schedule_kind(name).settings}
    return "\n\n".join(f'### name = "{name}"\n\n{recipe_keys(section)}' for name, section in kinds.items())


def schedule_summaries() -> str:
    """Each schedule with its rate in one line."""
    rows = [f"| `{name}` | {schedule_kind(name).summary} |" for name in SCHEDULES]
    return "\n".join(["| Schedule | The learning rate at time t |", "|---|---|", *rows])


def policy_numbers() -> str:
    """Every number that a treatment decides by, with its unit, reason and source."""
    rows = [
        f"| `{group}.{name}` | {value:g} | {unit} | {reason} | {source} |"
        if isinstance(value, int | float)
        else f"| `{group}.{name}` | {value} | {unit} | {reason} | {source} |"
        for group, name, value, unit, reason, source in listed(Policy())
    ]
    return "\n".join(["| Number | Default | Unit | Reason | Source |", "|---|---|---|---|---|", *rows])


TABLES = {"schedule keys": schedule_keys, "schedules": schedule_summaries, "policy": policy_numbers}
_BLOCK = re.compile(r"(<!-- table: ([\w ]+) -->\n).*?(\n<!-- end -->)", re.DOTALL)


def written(page: str) -> str:
    """The text of a page with every table made anew. KeyError for a table that this script does not know."""
    return _BLOCK.sub(lambda found: f"{found[1]}{TABLES[found[2]]()}{found[3]}", page)


def _default(field: object) -> str:
    if field.is_required():
        return "required"
    return '`"none"`' if field.default is None else f"`{json.dumps(field.default)}`"


if __name__ == "__main__":
    for path in sorted(PAGES.glob("*.md")):
        text = path.read_text(encoding="utf-8")
        if (new := written(text)) != text:
            path.write_text(new, encoding="utf-8")
