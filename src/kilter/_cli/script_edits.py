"""Changes of a model said in the code of the script that made it: edits of calls, and their diff."""

import ast
import difflib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

Position = tuple[int, int, int, int]
"""First line, first column, last line and last column of a call; lines from 1, columns in bytes from 0."""

FIT: Final = "fit"
COMPILE: Final = "compile"


@dataclass(frozen=True)
class LayerEdit:
    """New arguments of the call that makes a layer, as code, and layers to put ``after`` it.

    ``order``: names of the arguments that may be given by position. ``kind``: another class, "" for the same.
    ``left_out``: whether the layer goes.
    """

    arguments: Mapping[str, str]
    order: Sequence[str] = ()
    kind: str = ""
    after: tuple[str, ...] = ()
    left_out: bool = False


@dataclass(eq=False)
class Script:
    """The source of a script, and the edits that are to be made in it."""

    source: str
    _edits: dict[tuple[int, int], str] = field(default_factory=dict[tuple[int, int], str])

    def __post_init__(self) -> None:
        self._lines = self.source.splitlines(keepends=True)
        self._starts = [0]
        for line in self._lines:
            self._starts.append(self._starts[-1] + len(line.encode()))
        self._bytes = self.source.encode()
        self._tree = ast.parse(self.source)

    def at(self, position: Position) -> ast.Call | None:
        """The call at a position; None if there is none."""
        return next((one for one in self._calls() if _place(one) == position), None)

    def method(self, name: str, line: int | None = None) -> ast.Call | None:
        """The call of a method (or function) ``name``: the one on ``line``, else the only one."""
        found = [one for one in self._calls() if _name(one) == name]
        on_line = [one for one in found if line is not None and one.lineno <= line <= (one.end_lineno or 0)]
        return on_line[0] if on_line else found[0] if len(found) == 1 else None

    def set_arguments(self, call: ast.Call, values: Mapping[str, str], order: Sequence[str] = ()) -> bool:
        """Replace or add arguments; False if one is hidden in ``*arguments`` or ``**options``."""
        if any(isinstance(one, ast.Starred) for one in call.args) or any(
            one.arg is None for one in call.keywords
        ):
            return False
        added: list[str] = []
        for name, code in values.items():
            node = self.argument(call, name, list(order).index(name) if name in order else -1)
            if node is not None:
                self._edits[self._span(node)] = code
            else:
                added.append(f"{name}={code}")
        if added:
            end = self._span(call)[1] - 1
            before = self._bytes[:end].rstrip()
            empty = before.endswith((b"(", b","))
            self._edits[end, end] = self._edits.get((end, end), "" if empty else ", ") + ", ".join(added)
        return True

    def rename(self, call: ast.Call, kind: str) -> None:
        """Call another class of the same module."""
        node = call.func
        end = self._span(node)[1]
        old = node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")
        self._edits[end - len(old.encode()), end] = kind

    def insert_after(self, call: ast.Call, codes: Sequence[str]) -> bool:
        """Put layers after one: in the list that holds it, in calls of ``add``, or where it is called."""
        node = self._used(call)
        holder = self._holder(node)
        if holder is None:
            return False
        if isinstance(holder, ast.List):
            self._insert(self._span(node)[1], "".join(f", {one}" for one in codes))
        elif isinstance(holder, ast.Call):
            start, end = self._span(holder)
            named = [self._kept(call, node, one) for one in codes]
            self._insert(start, "".join(f"{one}(" for one in reversed(named)))
            self._insert(end, ")" * len(codes))
        else:
            model = self._text(holder.value.func.value)  # type: ignore[attr-defined]
            lines = (f"\n{' ' * holder.col_offset}{model}.add({one})" for one in codes)
            self._insert(self._span(holder)[1], "".join(lines))
        return True

    def insert_before(self, call: ast.Call, code: str) -> bool:
        """Put a layer before one, wherever :meth:`insert_after` would put one after it.

        It goes before the loop if a loop makes the layer several times.
        """
        node = self._used(call)
        holder, loop = self._holder(node), self._loop(call)
        if loop is not None:
            return self._insert_before_loop(loop, holder, code)
        if isinstance(holder, ast.List):
            start = self._span(node)[0]
            indent = self._bytes[self._bytes.rfind(b"\n", 0, start) + 1 : start].decode()
            self._insert(start, f"{code}, " if indent.strip() else f"{code},\n{indent}")
        elif isinstance(holder, ast.Call) and holder.args:
            start, end = self._span(holder.args[0])
            self._insert(start, f"{self._kept(call, node, code)}(")
            self._insert(end, ")")
        elif isinstance(holder, ast.Expr):
            model = self._text(holder.value.func.value)  # type: ignore[attr-defined]
            return self.insert_line(holder.value, f"{model}.add({code})")  # type: ignore[arg-type]
        else:
            return False
        return True

    def _loop(self, call: ast.Call) -> ast.For | ast.While | None:
        """The outermost loop around a call."""
        loops = (one for one in ast.walk(self._tree) if isinstance(one, ast.For | ast.While))
        return next((one for one in loops if any(call is each for each in ast.walk(one))), None)

    def _insert_before_loop(self, loop: ast.For | ast.While, holder: Any, code: str) -> bool:
        if isinstance(holder, ast.Expr):
            return self.insert_line(loop, f"{self._text(holder.value.func.value)}.add({code})")  # type: ignore[attr-defined]
        given = holder.args[0] if isinstance(holder, ast.Call) and holder.args else None
        counters = [loop.target] if isinstance(loop, ast.For) else []
        own = {getattr(one, "id", "") for each in counters for one in ast.walk(each)}
        if not isinstance(given, ast.Name) or given.id in own:
            return False
        return self.insert_line(loop, f"{given.id} = {code}({given.id})")

    def _kept(self, call: ast.Call, node: ast.expr, code: str) -> str:
        """Code that makes a layer; the attribute that keeps it, beside the layer that is one itself."""
        if not isinstance(node, ast.Attribute):
            return code
        statement, kind = self._assignment(call), code.partition("(")[0].rpartition(".")[2]
        assert statement is not None
        name = f"{self._text(node)}_{re.sub(r'(?<!^)(?=[A-Z])', '_', kind).lower()}"
        same = sum(name in one for one in self._edits.values())
        name += f"_{same + 1}" if same else ""
        self._insert(self._span(statement)[1], f"\n{' ' * statement.col_offset}{name} = {code}")
        return name

    def attempt(self, edits: Iterable[Callable[[], bool]]) -> bool:
        """Make all of these edits, or none of them if one cannot be made."""
        before = dict(self._edits)
        if all(edit() for edit in edits):
            return True
        self._edits = before
        return False

    def insert_line(self, node: ast.AST, code: str) -> bool:
        """Put a line of code before the statement of a node; False if that shares its line with another."""
        start = self._span(node)[0]
        spans = [self._span(one) for one in ast.walk(self._tree) if isinstance(one, ast.stmt)]
        begin = max(first for first, last in spans if first <= start < last)
        indent = self._bytes[self._bytes.rfind(b"\n", 0, begin) + 1 : begin]
        if indent.strip():
            return False
        self._insert(begin, f"{code}\n{indent.decode()}")
        return True

    def argument(self, call: ast.Call, name: str, place: int) -> ast.expr | None:
        """An argument by name or place; None if it is not given."""
        named = {one.arg: one.value for one in call.keywords}
        return named.get(name) or (call.args[place] if 0 <= place < len(call.args) else None)

    def part_of(self, node: ast.expr | None, key: int | str | None = None) -> str | None:
        """A name, attribute or item as code, or its part ``key``; None for others, which may be costly."""
        if key is not None and isinstance(node, ast.List | ast.Tuple):
            return self.part_of(node.elts[int(key)])
        if key is not None and isinstance(node, ast.Dict):
            keys = [getattr(one, "value", None) for one in node.keys]
            return self.part_of(node.values[keys.index(key)]) if key in keys else None
        if not isinstance(node, ast.Name | ast.Attribute | ast.Subscript):
            return None
        return self._text(node) + ("" if key is None else f"[{json.dumps(key)}]")

    def object_of(self, call: ast.Call) -> str | None:
        """The name of the object whose method is called; None if it is not a name."""
        owner = call.func.value if isinstance(call.func, ast.Attribute) else None
        return self._text(owner) if isinstance(owner, ast.Name | ast.Attribute) else None

    def remove(self, call: ast.Call) -> bool:
        """Leave a layer out, wherever :meth:`insert_after` would put one after it."""
        node = self._used(call)
        holder, made = self._holder(node), self._assignment(call)
        start, end = self._span(node)
        if isinstance(holder, ast.List) and len(holder.elts) > 1:
            self._edits[self._with_comma(start, end)] = ""
        elif isinstance(holder, ast.Call) and len(holder.args) == 1 and not holder.keywords:
            (outer, last), (first, inner) = self._span(holder), self._span(holder.args[0])
            same = self._assigned_to_itself(holder)
            if same is not None:
                self._drop(same)
            else:
                self._edits[outer, first] = self._edits[inner, last] = ""
        elif isinstance(holder, ast.Expr):
            self._drop(holder)
        else:
            return False
        if node is not call and made is not None:
            self._drop(made)
        return True

    def _assigned_to_itself(self, outer: ast.Call) -> ast.stmt | None:
        """The statement ``x = outer(x)``, if that is where a layer is called."""
        made = self._assignment(outer)
        same = made is not None and self._text(made.targets[0]) == self._text(outer.args[0])
        return made if same else None

    def _drop(self, statement: ast.stmt) -> None:
        """Leave a statement out; ``pass`` in place of the only one of its block."""
        bodies = (getattr(node, "body", ()) for node in ast.walk(self._tree))
        alone = any(isinstance(body, list) and body == [statement] for body in bodies)
        start, end = self._span(statement)
        self._edits[(start, end) if alone else self._with_comma(start, end)] = "pass" if alone else ""

    def _with_comma(self, start: int, end: int) -> tuple[int, int]:
        """A span with the comma that follows; the whole line if nothing else is on it."""
        after = self._bytes[end:].lstrip()
        end = len(self._bytes) - len(after) + 1 if after.startswith(b",") else end
        line, rest = self._bytes.rfind(b"\n", 0, start) + 1, self._bytes.find(b"\n", end) + 1
        alone = not (self._bytes[line:start] + self._bytes[end:rest]).strip() and rest
        return (line, rest) if alone else (start, end)

    def _used(self, call: ast.Call) -> ast.expr:
        """The call itself, or the only use of the name, or attribute of a class, that it is assigned to."""
        made = self._assignment(call)
        if made is None:
            return call
        name, kind = ast.unparse(made.targets[0]), type(made.targets[0])
        classes = [one for one in ast.walk(self._tree) if isinstance(one, ast.ClassDef)]
        scope = next((one for one in reversed(classes) if any(made is each for each in ast.walk(one))), None)
        every = ast.walk(self._tree if scope is None else scope)
        named: list[Any] = [one for one in every if type(one) is kind and ast.unparse(one) == name]
        uses = [one for one in named if isinstance(one.ctx, ast.Load)]
        return uses[0] if len(named) == 2 and len(uses) == 1 else call

    def _assignment(self, call: ast.Call) -> ast.Assign | None:
        """The statement that assigns a call, and nothing else, to one name or attribute."""
        for node in ast.walk(self._tree):
            if isinstance(node, ast.Assign) and node.value is call and len(node.targets) == 1:
                return node if isinstance(node.targets[0], ast.Name | ast.Attribute) else None
        return None

    def _holder(self, call: ast.expr) -> ast.List | ast.Call | ast.Expr | None:
        """What uses a layer: a list, the call of it, or a call of ``add`` as a statement."""
        for node in ast.walk(self._tree):
            if isinstance(node, ast.List) and call in node.elts:
                return node
            if isinstance(node, ast.Call) and node.func is call:
                return node
            added = isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
            if added and call in node.value.args and _name(node.value) == "add":  # type: ignore[attr-defined]
                return node  # type: ignore[return-value]
        return None

    def _insert(self, at: int, code: str) -> None:
        self._edits[at, at] = self._edits.get((at, at), "") + code

    def keras(self) -> str:
        """What the script calls Keras; "keras" if it does not import it."""
        named = self._imported()
        return next((name for name, origin in named.items() if origin.rpartition(".")[2] == "keras"), "keras")

    def _imported(self) -> dict[str, str]:
        """The names that imports bind, with what they stand for."""
        found: dict[str, str] = {}
        for node in ast.walk(self._tree):
            if isinstance(node, ast.Import):
                for one in node.names:
                    found[one.asname or one.name.partition(".")[0]] = one.name
            elif isinstance(node, ast.ImportFrom):
                found |= {one.asname or one.name: f"{node.module}.{one.name}" for one in node.names}
        return found

    def edited(self) -> str:
        """The source with all edits."""
        made = self._bytes
        for (start, end), code in sorted(self._edits.items(), reverse=True):
            made = made[:start] + code.encode() + made[end:]
        text = made.decode()
        if self._edits and "keras." in text and "keras" not in self._imported():
            text = _with_import(text, "import keras")
        if self._edits and "kilter." in text and "kilter" not in self._imported():
            text = _with_import(text, "import kilter  # before keras: it chooses the JAX backend")
        ast.parse(text)  # an edit that breaks the script must not be shown
        return text

    def diff(self, name: str) -> str:
        """The edits as a unified diff; "" for none."""
        after = self.edited().splitlines(keepends=True)
        return "".join(difflib.unified_diff(self._lines, after, f"a/{name}", f"b/{name}"))

    def _calls(self) -> Iterator[ast.Call]:
        return (one for one in ast.walk(self._tree) if isinstance(one, ast.Call))

    def _span(self, node: Any) -> tuple[int, int]:
        first = self._starts[node.lineno - 1] + node.col_offset
        return first, self._starts[node.end_lineno - 1] + node.end_col_offset

    def _text(self, node: Any) -> str:
        start, end = self._span(node)
        return self._bytes[start:end].decode()


def _place(node: Any) -> Position:
    return node.lineno, node.col_offset, node.end_lineno, node.end_col_offset


def _name(call: ast.Call) -> str:
    function = call.func
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def _with_import(text: str, line: str) -> str:
    """The text with an import before its first one, after a docstring and imports from __future__."""
    body = ast.parse(text).body
    first = next(
        (
            one
            for one in body
            if isinstance(one, ast.Import | ast.ImportFrom) and getattr(one, "module", "") != "__future__"
        ),
        body[0] if body else None,
    )
    lines = text.splitlines(keepends=True)
    lines.insert(0 if first is None else first.lineno - 1, f"{line}\n")
    return "".join(lines)


def arguments_of(snippet: str, function: str = FIT) -> dict[str, str]:
    """The named arguments of the call of ``function`` in a snippet of code; {} without one.

    Example:
        >>> arguments_of("model.fit(..., batch_size=32)")
        {'batch_size': '32'}
    """
    try:
        tree = ast.parse(snippet)
    except SyntaxError:
        return {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _name(node) == function:
            return {one.arg: ast.unparse(one.value) for one in node.keywords if one.arg is not None}
    return {}
