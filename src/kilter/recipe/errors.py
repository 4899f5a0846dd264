"""Pydantic's errors as one kilter error, with the nearest name for an unknown key."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from kilter._text import did_you_mean
from kilter.errors import KilterError, RecipeError
from kilter.recipe.base import keys_of
from kilter.recipe.model import BUILDER, BUILDERS, KINDS, MODEL_CLASSES, model_kind
from kilter.recipe.schedule import NO_SUCH_SCHEDULE, schedule_section
from kilter.recipe.sections import Recipe
from kilter.schedules.registry import SCHEDULES

SHOWN: Final = 8
LONGEST: Final = 100
_ADD_A_MODEL: Final = (
    'add for example [model] builder = "mlp"; kilter train DATA, without a recipe, chooses one, and its '
    "run directory has the whole recipe"
)
# A default that was not computed because of an error in another key.
SILENT: Final = "default_factory_not_called"


@dataclass(frozen=True)
class Problem:
    """One problem of a recipe, at the key ``where`` (dotted; "" for the whole recipe)."""

    where: str
    expected: str
    received: str
    remedy: str


def recipe_error(error: ValidationError, given: Mapping[Any, Any]) -> RecipeError:
    """``error`` as one :class:`RecipeError`; ``given``: the validated mapping."""
    problems: dict[str, Problem] = {}
    for detail in error.errors(include_url=False):
        if detail["type"] != SILENT:
            found = _problem(detail, given)
            problems.setdefault(found.where, found)
    shown = list(problems.values())[:SHOWN]
    more = f"; and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
    expected = (f"{one.where}: {one.expected}" if one.where else one.expected for one in shown)
    return RecipeError(
        expected="; ".join(expected) + more,
        received="; ".join(one.received for one in shown) + more,
        remedy="; ".join(dict.fromkeys(_addressed(one, alone=len(shown) == 1) for one in shown)),
    )


def _addressed(problem: Problem, *, alone: bool) -> str:
    """The remedy, with its key if there are several problems and it does not name the key."""
    key = problem.where.rpartition(".")[2]
    clear = alone or not key or key in problem.remedy
    return problem.remedy if clear else f"{problem.where}: {problem.remedy}"


def shorten(value: Any) -> str:
    """``repr(value)``, cut to a readable length."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # a number of thousands of digits, tables within tables
        text = f"{type(value).__name__} that is too large to show"
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def _problem(detail: ErrorDetails, given: Mapping[Any, Any]) -> Problem:
    path = _without_tags(tuple(str(part) for part in detail["loc"]))
    if detail["type"] == "extra_forbidden":
        return _unknown_key(path, detail["input"], given)
    if path == ("model",) and detail["type"] in ("missing", "union_tag_not_found", "union_tag_invalid"):
        return _no_one_model(given.get("model"))
    if path == ("schedule",) and detail["type"] == NO_SUCH_SCHEDULE:
        return _no_one_schedule(given["schedule"])
    if detail["type"] == "missing" and _field(path, given) is not None:
        remedy = f"add {path[-1]} to {_section_title(path[:-1])}"
        return Problem(".".join(path), _description(path, given), f"no {path[-1]}", remedy)
    context = detail.get("ctx", {})
    cause = context.get("error")
    if isinstance(cause, KilterError):
        return Problem(".".join(path), cause.expected, cause.received, cause.remedy)
    if context.get("received"):
        return Problem(".".join(path), context["expected"], context["received"], "change one of them")
    return _bad_value(path, detail, given)


def _without_tags(path: tuple[str, ...]) -> tuple[str, ...]:
    """``path`` without the tags of pydantic unions, which are not keys."""
    if path[:1] == ("model",) and len(path) > 1 and path[1] in MODEL_CLASSES:
        path = (path[0], *path[2:])
    if path[:2] == ("model", "initializer"):
        path = (*path[:2], *path[5 if path[2:3] == ("each",) else 3 :])
    return path


def _bad_value(path: tuple[str, ...], detail: ErrorDetails, given: Mapping[Any, Any]) -> Problem:
    """A value of the wrong type or range, reported for the nearest key that has a description."""
    while len(path) > 1 and _field(path, given) is None:
        path = path[:-1]
    said = detail.get("ctx", {}).get("expected") if detail["type"] == "kilter" else None
    expected = said or _description(path, given)
    value = _lookup(given, path, detail["input"])
    key = ".".join(path)
    remedy = _near_value(value, expected, f"correct {key or 'the recipe'}")
    return Problem(key, expected, f"{key or 'recipe'}={shorten(value)}", remedy)


def _unknown_key(path: tuple[str, ...], value: Any, given: Mapping[Any, Any]) -> Problem:
    section, key = path[:-1], shorten(path[-1]) if len(path[-1]) > LONGEST else path[-1]
    path = (*section, key)
    known = _keys(section, given)
    elsewhere = [
        name
        for name in Recipe.model_fields
        if name not in ("model", "schedule") and (name,) != section and key in _keys((name,), given)
    ]
    elsewhere += [f"model with {kind}" for kind in _kinds_with(key) if section == ("model",)]
    if not elsewhere and section != ("model",) and _kinds_with(key):
        elsewhere = ["model"]
    within = [name for name in known if key in _keys((*section, name), given)]
    if within:
        elsewhere = [".".join((*section, name)) for name in within]
    places = " or ".join(f"[{name}]" for name in elsewhere)
    remedy = did_you_mean(key, known, f"{key} belongs in {places}" if elsewhere else f"leave {key} out")
    expected = f"a key of {_section_title(section)}: {', '.join(known)}"
    return Problem(".".join(path), expected, f"{'.'.join(path)}={shorten(value)}", remedy)


def _no_one_model(value: Any) -> Problem:
    expected = (
        'in [model] exactly one of builder = "mlp", "cnn" or "unet", file = "model.keras", '
        'factory = "module:function", reuse = "model.keras"'
    )
    if not isinstance(value, Mapping):
        return Problem(
            "", expected, "no [model]" if value is None else f"model={shorten(value)}", _ADD_A_MODEL
        )
    named = [key for key in KINDS if key in value]
    if named == ["builder"]:
        given = value["builder"]
        remedy = did_you_mean(given, BUILDERS, f"choose {' or '.join(BUILDERS)}", cutoff=0.4)
        return Problem("model.builder", BUILDER, f"model.builder={shorten(given)}", remedy)
    if named:
        received = " and ".join(f"{key}={shorten(value[key])}" for key in named)
        return Problem("", expected, received, "keep one of them")
    keys = ", ".join(str(key) for key in value) or "no key"
    return Problem("", expected, f"[model] with {keys}", _ADD_A_MODEL)


def _no_one_schedule(value: Mapping[Any, Any]) -> Problem:
    expected = "one of " + ", ".join(SCHEDULES)
    if "name" not in value:
        return Problem("schedule.name", expected, "no name", "add name to [schedule]")
    remedy = _near_value(value["name"], expected, "choose one of these")
    return Problem("schedule.name", expected, f"schedule.name={shorten(value['name'])}", remedy)


def _class_at(path: tuple[str, ...], given: Mapping[Any, Any]) -> type[BaseModel] | None:
    """The section at ``path``; for ``[model]`` and ``[schedule]`` the kind in ``given``."""
    if path == ():
        return Recipe
    if path == ("model",):
        kind = model_kind(given.get("model"))
        return MODEL_CLASSES[kind] if kind else None
    if path == ("schedule",):
        name = _lookup(given, ("schedule", "name"), None)
        return schedule_section(name) if name in SCHEDULES else None
    if path[-1].isdecimal():  # an element of a list of sections
        return _class_at(path[:-1], given)
    field = _field(path, given)
    return None if field is None else _section_in(field.annotation)


def _section_in(annotation: Any) -> type[BaseModel] | None:
    """The section in the annotation of a key, such as ``EarlyStopping | None``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := _section_in(part))), None)


def _keys(path: tuple[str, ...], given: Mapping[Any, Any]) -> Mapping[str, Any]:
    section = _class_at(path, given)
    return keys_of(section) if section else {}


def _field(path: tuple[str, ...], given: Mapping[Any, Any]) -> Any:
    return _keys(path[:-1], given).get(path[-1]) if path else None


def _description(path: tuple[str, ...], given: Mapping[Any, Any]) -> str:
    field = _field(path, given)
    if field is not None and field.description:
        return field.description
    return f"a table [{'.'.join(path)}]" if path else "a table of sections"


def _section_title(path: tuple[str, ...]) -> str:
    return f"[{'.'.join(path)}]" if path else "the recipe"


def _kinds_with(key: str) -> list[str]:
    return [
        f'builder = "{kind}"' if kind in BUILDERS else kind
        for kind, section in MODEL_CLASSES.items()
        if key in section.model_fields
    ]


def _lookup(given: Any, path: tuple[str, ...], otherwise: Any) -> Any:
    for part in path:
        if not isinstance(given, Mapping) or part not in given:
            return otherwise
        given = given[part]
    return given


def _near_value(value: Any, expected: str, otherwise: str) -> str:
    """The remedy for a wrong value: the nearest of the words in ``expected``, if it is text."""
    if not isinstance(value, str):
        return otherwise
    words = [word.strip(' "') for word in expected.removeprefix("one of ").replace(" or ", ",").split(",")]
    return did_you_mean(value, [word for word in words if " " not in word], otherwise)
