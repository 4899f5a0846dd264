"""The ``[schedule]`` section: how the learning rate changes. Each schedule has its own keys and no others.

The keys come from :mod:`kilter.schedules.registry`; nothing here names a schedule.
"""

from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Field, SerializeAsAny, create_model
from pydantic_core import PydanticCustomError

from kilter.recipe.base import LISTED, UNSET, Section, refuse
from kilter.schedules.registry import REQUIRED, SCHEDULES, ScheduleKind, Setting, schedule_kind

# Optimisers with a momentum or beta_1 that can be cycled; sgd and rmsprop need a momentum setting.
CYCLED: Final = ("sgd", "rmsprop", "adam", "adamw", "nadam", "adamax", "lion", "lamb")
NO_SUCH_SCHEDULE: Final = "no_such_schedule"
_NAME: Final = "one of " + ", ".join(SCHEDULES)


class ScheduleSection(Section):
    """A schedule by name; its keys are the settings of its `ScheduleKind`."""

    name: str = Field(description=_NAME)

    @property
    def kind(self) -> ScheduleKind:
        """The schedule of this name."""
        return schedule_kind(self.name)

    def settings(self) -> dict[str, Any]:
        """All keys but the name, defaults included."""
        return self.model_dump(exclude={"name"})


@cache
def schedule_section(name: str) -> type[ScheduleSection]:
    """The section of the schedule `name`, one of ``SCHEDULES``."""
    fields: dict[str, Any] = {one.name: (_type(one), _field(one)) for one in schedule_kind(name).settings}
    title = "".join(word.capitalize() for word in name.split("_"))
    fields["name"] = (Literal[name], Field(description=_NAME))
    return create_model(f"{title}Section", __base__=ScheduleSection, __module__=__name__, **fields)


def _type(setting: Setting) -> Any:
    """The annotation of a key: its type, the rule for each number, and "none" where allowed."""

    def follow_rule(value: Any) -> Any:
        numbers = value if isinstance(value, tuple) else (value,)
        if value is not None and not all(setting.rule.holds(number) for number in numbers):
            raise refuse(setting.description)
        return value

    kind, marks = setting.kind, []
    if setting.kind not in (float, int, bool):
        marks.append(LISTED)
    if setting.optional:
        kind = kind | None
        marks.append(UNSET)
    if setting.kind is not bool:
        marks.append(AfterValidator(follow_rule))
    return Annotated[kind, *marks] if marks else kind


def _field(setting: Setting) -> Any:
    default = ... if setting.default is REQUIRED else setting.default
    shortest = 1 if setting.kind == tuple[float, ...] else None
    return Field(default=default, description=setting.description, min_length=shortest)


def _section_named(value: Any) -> Any:
    """The section that a mapping describes, by its ``name``."""
    if not isinstance(value, Mapping):
        return value
    name = value.get("name")
    if not isinstance(name, str) or name not in SCHEDULES:
        raise PydanticCustomError(NO_SUCH_SCHEDULE, "{expected}", {"expected": _NAME})
    return schedule_section(name).model_validate(value)


AnySchedule = Annotated[SerializeAsAny[ScheduleSection], BeforeValidator(_section_named)]
CONSTANT: Final = schedule_section("constant")(name="constant")
