"""The house: floors and imports, sizes, the public surface, and the examples in docstrings."""

import ast
import doctest
import importlib
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest

import kilter

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src"
MODULES = sorted(path.relative_to(SOURCE) for path in (SOURCE / "kilter").rglob("*.py"))
FUNCTIONS = ast.FunctionDef | ast.AsyncFunctionDef

# What stands on which floor (docs/architecture.md); an import goes to the same floor's own part, or down.
FLOORS = {
    "_lazy": -2,  # the packages' own faces use it
    "errors": 0,
    "_array_types": 0,
    "_records": 0,
    "_text": 0,
    "_toml": 0,
    "_layout": 0.25,  # above the text that it lays out
    "_system": 0.5,  # raises errors
    "_validation": 0.5,
    "_measures": 0.5,
    "_progress": 0.5,  # above the errors, text and layout that it uses
    "_backend": 0.5,  # on the ground floor too, above the errors it raises
    "_xla": 0.7,
    "data": 1,
    "schedules": 1,
    "_models": 1.5,
    "nn": 2,
    "recipe": 2.5,
    "_engine": 3,
    "_tuning": 3.5,  # the diagnosis measures the noise of the gradient
    "_transfer": 4,
    "_infer": 4,
    "_diagnosis": 4,
    "runs": 5,
    "_fit": 5.5,  # kilter.fit keeps runs and reports findings
    "_accelerate": 5.75,  # replaces the methods of Keras by kilter.fit
    "_estimators": 6,  # scikit-learn's interface to the builders and kilter.fit
    "pretrain": 6,
    "_compare": 7,
    "_studies": 8,
    "_treatment": 8,
    "report": 9,
    "_cli": 10,
    "__main__": 11,
}

# Modules that import within a function, and why that dodges no circle. Everything in _cli/ may: its commands
# load what they need, so that `kilter --help` is quick.
LAZY = {
    "kilter/__main__.py": "Ctrl-C while the command line loads ends it quietly",
    "kilter/_lazy.py": "public names load on first use: `kilter --help` and `kilter runs` need no JAX",
    "kilter/schedules/__init__.py": "recipes list the schedules without loading Keras",
    "kilter/schedules/registry.py": "a schedule loads Keras when it is used; recipes name it without",
    "kilter/_validation.py": "pydantic reads the records of a run; kilter.fit does without it",
    "kilter/_records.py": "pictures are drawn above the records, and training loads no plotly",
    "kilter/pretrain/tasks/base.py": "a task loads when it is used: one line adds it",
    "kilter/_fit.py": "a training that keeps no run loads neither checkpoints nor event files",
    "kilter/_engine/feed.py": "grain, which loads orbax, is for data that do not fit",
    "kilter/_engine/processes.py": "orbax and JAX's experimental parts are for several processes only",
    "kilter/_compare/samplers.py": "Optuna is an extra",
    "kilter/_compare/ray_workers.py": "Ray is an extra",
    "kilter/data/named.py": "scikit-learn and Keras are loaded only for the named sets that need them",
    "kilter/recipe/text.py": "the default recipe looks into data; recipes are checked without NumPy",
    "kilter/runs/from_recipe.py": "the module:function that a recipe names is the user's",
}

MOST_LINES_A_FILE = 400
MOST_LINES_A_FUNCTION = 60  # without its docstring
LINES_ALIKE = 6
MOST_PAIRS_ALIKE = 4  # of modules; docs/decisions/042


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse((SOURCE / path).read_text(encoding="utf-8"))


def part(path: Path) -> str:
    """The part of the house a module belongs to: the first name below kilter."""
    return path.parts[1].removesuffix(".py")


def dotted(path: Path) -> str:
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")


KNOWN = {dotted(path) for path in MODULES}


def imported(node: ast.AST) -> Iterator[str]:
    """The modules of kilter that an import statement names."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "kilter")
    elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "kilter":
        for alias in node.names:
            below = f"{node.module}.{alias.name}"
            yield below if below in KNOWN else str(node.module)


@cache
def imports(path: Path) -> list[tuple[int, str]]:
    """Line and name of each import of a module of kilter."""
    nodes = (node for node in ast.walk(tree(path)) if isinstance(node, ast.Import | ast.ImportFrom))
    return [(node.lineno, name) for node in nodes for name in imported(node)]


def nodes_in_functions(path: Path) -> Iterator[ast.AST]:
    for function in ast.walk(tree(path)):
        if isinstance(function, FUNCTIONS):
            yield from ast.walk(function)


def is_import(node: ast.AST) -> bool:
    if isinstance(node, ast.Import | ast.ImportFrom):
        return True
    called = node.func if isinstance(node, ast.Call) else None
    name = getattr(called, "attr", None) or getattr(called, "id", None)
    return name in ("import_module", "__import__")


def test_every_part_of_the_house_has_a_floor():
    assert {part(path) for path in MODULES} - {"__init__"} <= set(FLOORS)


def test_imports_run_downward():
    upward = []
    for path in MODULES:
        floor = FLOORS.get(part(path), -1)  # kilter/__init__.py itself stands below all
        for line, name in imports(path):
            other = name.split(".")[1] if "." in name else None
            if other is not None and other != part(path) and FLOORS[other] >= floor:
                upward.append(f"{path}:{line} imports {name} from the same floor or above")
    assert not upward


def test_no_modules_import_each_other_in_a_circle():
    graph = {dotted(path): {name for _, name in imports(path)} - {dotted(path)} for path in MODULES}
    lazy = {dotted(Path(path)) for path in LAZY if path.endswith("__init__.py")}
    for package in lazy:  # what a package names under TYPE_CHECKING it does not import
        graph[package] = set()
    while graph:
        leaves = {name for name, below in graph.items() if not below & set(graph)}
        assert leaves, f"a circle among {sorted(graph)}"
        graph = {name: below for name, below in graph.items() if name not in leaves}


def test_imports_stand_at_the_top():
    strict = [path for path in MODULES if part(path) != "_cli" and path.as_posix() not in LAZY]
    assert not [
        f"{path}:{node.lineno}" for path in strict for node in nodes_in_functions(path) if is_import(node)
    ]


def test_the_exceptions_are_still_needed():
    for name in LAZY:
        assert any(is_import(node) for node in nodes_in_functions(Path(name))), name


def test_rooms_are_small():
    large = []
    for path in MODULES:
        lines = len((SOURCE / path).read_text(encoding="utf-8").splitlines())
        if lines > MOST_LINES_A_FILE:
            large.append(f"{path} has {lines} lines")
        for function in ast.walk(tree(path)):
            if isinstance(function, FUNCTIONS):
                lines = (function.end_lineno or 0) - function.lineno + 1 - _docstring_lines(function)
                if lines > MOST_LINES_A_FUNCTION:
                    large.append(f"{path}: {function.name} has {lines} lines")
    assert not large


def _docstring_lines(function: FUNCTIONS) -> int:
    first = function.body[0]
    if ast.get_docstring(function) is None:
        return 0
    return (first.end_lineno or 0) - first.lineno + 1


def code_lines(path: Path) -> list[str]:
    """A module without its imports, signatures, docstrings, comments and lone brackets, line by line."""
    left_out: set[int] = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, FUNCTIONS):
            left_out |= set(range(node.lineno, node.body[0].lineno))
        elif isinstance(node, ast.Import | ast.ImportFrom) or (
            isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        ):
            left_out |= set(range(node.lineno, (node.end_lineno or 0) + 1))
    lines = enumerate((SOURCE / path).read_text(encoding="utf-8").splitlines(), 1)
    stripped = [line.strip() for number, line in lines if number not in left_out]
    return [line for line in stripped if any(map(str.isalnum, line)) and not line.startswith("#")]


def test_six_lines_are_written_once():
    places: dict[tuple[str, ...], list[Path]] = {}
    for path in MODULES:
        lines = code_lines(path)
        for start in range(len(lines) - LINES_ALIKE + 1):
            places.setdefault(tuple(lines[start : start + LINES_ALIKE]), []).append(path)
    pairs = {(one, other) for found in places.values() for one, other in pairwise(found)}
    assert len(pairs) <= MOST_PAIRS_ALIKE, sorted(f"{one} ~ {other}" for one, other in pairs)


def test_public_names_exist_and_are_told_of():
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    told = "\n".join(page.read_text(encoding="utf-8") for page in pages)
    for name in kilter.__all__:
        assert getattr(kilter, name) is not None
        assert name == "__version__" or f"kilter.{name}" in told, f"kilter.{name} is in no page of the docs"
    assert set(kilter.__all__) <= set(dir(kilter))
    with pytest.raises(AttributeError, match="no attribute 'fitt'"):
        _ = kilter.fitt


EXAMPLES = [path for path in MODULES if ">>>" in (SOURCE / path).read_text(encoding="utf-8")]


@pytest.mark.parametrize("path", EXAMPLES, ids=str)
def test_the_examples_in_docstrings_are_true(path: Path):
    results = doctest.testmod(importlib.import_module(dotted(path)), optionflags=doctest.ELLIPSIS)
    assert results.attempted > 0
    assert results.failed == 0
