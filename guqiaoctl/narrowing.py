"""Of the command line, only what the arguments name.

Typer reads the signature of every command before it runs one, which for a quick command would be
most of its time. What is named keeps its place, its words and its errors; where the arguments name
nothing that is known, or ask a group for help, everything on that level stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy

import typer
from typer.models import TyperInfo


def narrowed(whole: typer.Typer, arguments: Sequence[str]) -> typer.Typer:
    """The command line or group with the one command or group that the arguments begin with."""
    name, rest = (arguments[0], arguments[1:]) if arguments else ("", arguments)
    commands = [each for each in whole.registered_commands if each.name == name]
    groups = [
        _with(each, narrowed(each.typer_instance, rest))
        for each in whole.registered_groups
        if each.typer_instance is not None and each.typer_instance.info.name == name
    ]
    if not commands and not groups:
        return whole
    only = copy(whole)
    only.registered_commands, only.registered_groups = commands, groups
    return only


def _with(info: TyperInfo, group: typer.Typer) -> TyperInfo:
    changed = copy(info)
    changed.typer_instance = group
    return changed
