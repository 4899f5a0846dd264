"""The changes of a treatment as one program: rows, the model, one compile(), one fit."""

import ast
import re
from typing import Final

import jax

from kilter._models.code import compile_code, difference_code
from kilter._models.writing import model_code
from kilter._treatment.subject import Subject

_LAYER: Final = re.compile(r"(?:keras\.layers|kilter\.nn)\.([A-Z]\w*)|normalization(?:\.adapt| = )")
_COMPILE: Final = "model.compile("
_FIT: Final = re.compile(r"(model|kilter)\.fit\(")
_CALLBACK: Final = "keras.callbacks."


def program(original: Subject, treated: Subject) -> str:
    """Code that makes the changes of ``treated``, with ``model``, ``x_train`` and ``y_train``; "" for none.

    The model is built anew where its code says all of it, and its weights were not trained before. Otherwise
    each changed layer stands by itself, with the place where it goes.
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
    whole = None
    if changed and not original.trained and len(data) == len(jax.tree.leaves(treated.x)):
        whole = model_code(treated.model, data)
    heads, rows, after, options, callbacks = [], [], [], {}, []
    for one in treated.changes:
        heads.append(f"# {one.remedy}: {one.after}")
        if one.snippet.startswith("#") and one.snippet != f"# {one.after}":
            heads.append(one.snippet.partition("\n")[0])
        for line, node in _statements(one.snippet):
            value = node.value if isinstance(node, ast.Expr) else None
            layer = _LAYER.match(line)
            if line.startswith(_COMPILE) or (layer and whole and (layer[1] or "Normalization") in whole):
                continue
            if isinstance(value, ast.Call) and _FIT.match(line):
                options |= {str(one.arg): ast.unparse(one.value) for one in value.keywords}
            elif value is not None and line.startswith(_CALLBACK):
                callbacks.append(ast.unparse(value))
            else:
                (after if re.search(r"\bmodel\b", line) or layer else rows).append(line)
    parts = [*heads, *rows]
    recompiled = any(_COMPILE in one.snippet for one in treated.changes)
    compiled = [compile_code(treated.model)] if recompiled else []
    parts += [*after, *compiled] if not whole else _with(whole, after)
    if treated.cycle is not None:
        cycle = ast.parse(treated.code_of(None, cycle=treated.cycle)).body[0].value  # type: ignore[attr-defined]
        options |= {str(one.arg): ast.unparse(one.value) for one in cycle.keywords}
    if callbacks:
        options["callbacks"] = f"[{', '.join(callbacks)}]"
    if options:
        fit = "model.fit(" if treated.cycle is None else "kilter.fit(model, "
        given = ", ".join(f"{key}={code}" for key, code in options.items())
        parts.append(f"{fit}x_train, y_train, {given})")
    return "\n".join(parts)


def _with(whole: str, after: list[str]) -> list[str]:
    """The model's code, with what is done to it before compile()."""
    *built, compiled = whole.splitlines()
    return [*built, *after, compiled]


def _statements(snippet: str) -> list[tuple[str, ast.stmt]]:
    """The statements of a snippet, each with its code and the comment behind it."""
    lines = snippet.splitlines()
    return [("\n".join(lines[node.lineno - 1 : node.end_lineno]), node) for node in ast.parse(snippet).body]
