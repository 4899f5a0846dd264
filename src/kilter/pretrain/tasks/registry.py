"""The auxiliary tasks by name. A task is a file here, and its name in ``recipe/pretrain.py``."""

from __future__ import annotations

import importlib
from typing import Final, get_args

from kilter.pretrain.running import Subject
from kilter.pretrain.tasks.base import Options, Setting
from kilter.recipe.pretrain import Task

TASKS: Final = tuple(name for name in get_args(Task) if name not in ("autoencoder", "gan"))


def task_setting(name: str, subject: Subject, options: Options) -> Setting:
    """The task ``name``, one of :data:`TASKS`, with its head: ``setting`` of the file of that name."""
    module = importlib.import_module(f"kilter.pretrain.tasks.{name.replace('-', '_')}")
    return module.setting(subject, options)
