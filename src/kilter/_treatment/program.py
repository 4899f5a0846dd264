"""The changes of a treatment as one program: rows, the model, one compile(), one fit."""

import ast
import re
from typing import Final

from kilter._layout import wrapped
from kilter._models.code import compile_code, difference_code
from kilter._models.writing import model_code
from kilter._treatment.subject import Subject

_LAYER: Final = re.compile(r"(?:keras\.layers|kilter\.nn)\.([A-Z]\w*)|normalization(?:\.adapt| = )")
_COMPILE: Final = "model.compile("
_FIT: Final = re.compile(r"(model|kilter)\.fit\(")
_CALLBACK: Final = "keras.callbacks."


def program(original: Subject, treated: Subject) -> str:
    """Code that makes the changes of ``treated``, with ``model``, ``x_train`` and ``y_train``; "" for none.

    The model is built anew, with the unchanged layers of the original where these are trained or cannot be
    written. A model with operations that are no layers keeps a line for each changed layer, with its place.
    """
    if not treated.changes:
        return ""
    data = ["x_train"]
    if isinstance(treated.x, dict):
        data = [f'x_train["{key}"]' for key in sorted(treated.x)]
    elif isinstance(treated.x, list | tuple):
        data = [f"x_train[{place}]" for place in range(len(treated.x))]
    differing = difference_code(original.model, treated.model).splitlines()
    changed = any(not line.startswith(_COMPILE) for line in differing)
    known = changed and len(data) == len(treated.model.inputs or ())
    whole = model_code(treated.model, data, original.model, trained=original.trained) if known else None
    heads, rows, after, options, callbacks = [], [], [], {}, []
    for one in treated.changes:
        heads += wrapped(f"# {one.remedy}: {one.after}", 100, indent="#     ")
        if one.snippet.startswith("#") and one.snippet != f"# {one.after}":
            heads.append(one.snippet.partition("\n")[0])
    cycle = "" if treated.cycle is None else treated.code_of(None, cycle=treated.cycle)
    for line, node in _statements("\n".join([*(one.snippet for one in treated.changes), cycle])):
        value, layer = getattr(node, "value", None), _LAYER.match(line)
        if line.startswith(_COMPILE) or (layer and whole and (layer[1] or "Normalization") in whole):
            continue
        if isinstance(value, ast.Call) and _FIT.match(line):
            options |= {str(one.arg): ast.unparse(one.value) for one in value.keywords}
        elif value is not None and line.startswith(_CALLBACK):
            callbacks.append(ast.unparse(value))
        else:
            (after if re.search(r"\bmodel\b", line) or layer else rows).append(line)
    recompiled = any(_COMPILE in one.snippet for one in treated.changes)
    built, compiled = "", compile_code(treated.model) if recompiled else ""
    if whole:
        built, _, compiled = whole.rpartition("\n")
    if not cycle:
        options.pop("schedule", None)
    if callbacks:
        options["callbacks"] = f"[{', '.join(callbacks)}]"
    given = ", ".join(f"{key}={code}" for key, code in options.items())
    called = "kilter.fit(model, " if cycle or "augment" in options else "model.fit("
    fit = f"{called}x_train, y_train, {given})" if given else ""
    return "\n".join(filter(None, [*heads, *rows, built, *after, compiled, fit]))


def _statements(snippet: str) -> list[tuple[str, ast.stmt]]:
    """The statements of a snippet, each with its code and the comment behind it."""
    lines = snippet.splitlines()
    return [("\n".join(lines[node.lineno - 1 : node.end_lineno]), node) for node in ast.parse(snippet).body]
