"""A diagnosis as JSON keeps the form that docs/diagnosis.md describes."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from pydantic import BaseModel, ConfigDict

from kilter._diagnosis.catalogue import CATALOGUE
from kilter._records import Diagnosis, Evidence, Finding

PAGE = Path(__file__).resolve().parents[2] / "docs" / "diagnosis.md"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Seen(_Strict):
    name: str
    value: float | int | str
    threshold: float | int | str | None
    source: str


class Found(_Strict):
    code: str
    severity: Literal["severe", "warning", "note"]
    where: list[str]
    evidence: list[Seen]
    explanation: str
    remedies: list[str]
    reference: str
    explained_by: str


class Told(_Strict):
    schema_: Literal[1]
    ok: bool
    root: str
    findings: list[Found]
    unchecked: list[str]


def one(code: str, explained_by: str = "", value: object = 0.5) -> Finding:
    evidence = (Evidence("share", value, 0.1, "a paper"),)  # type: ignore[arg-type]
    return Finding(code, "severe", ("dense",), evidence, "It is so.", ("shuffle",), "A paper", explained_by)


@pytest.mark.parametrize("value", [0.5, 3, "relu", math.nan, math.inf, np.float64(0.5)])
def test_the_form_is_the_documented_one(value: object):
    made = Diagnosis((one("falls-short", "not-shuffled", value), one("not-shuffled")), ("own losses",))
    text = json.dumps(made.to_json(), allow_nan=False)
    told = json.loads(text)
    told["schema_"] = told.pop("schema")
    parsed = Told.model_validate_json(json.dumps(told))
    assert parsed.root == "not-shuffled"  # a consequence is no root
    assert not parsed.ok


def test_without_a_severe_finding_there_is_no_root():
    assert Diagnosis(()).to_json() == {"schema": 1, "ok": True, "root": "", "findings": [], "unchecked": []}


def test_the_docs_name_every_key():
    page = PAGE.read_text(encoding="utf-8")
    keys = {*Found.model_fields, *Seen.model_fields, *Told.model_fields} - {"schema_"}
    assert all(f"`{key}`" in page or f".{key}`" in page or f"`findings[].{key}`" in page for key in keys)
    assert CATALOGUE
