"""Of the command line only what is named is read, and nobody sees a difference."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import pytest
from typer._click.core import Command, Context
from typer.core import TyperGroup
from typer.main import get_command

from guqiaoctl.__main__ import app
from guqiaoctl.narrowing import narrowed

WHOLE: Final = get_command(app)

Path = tuple[str, ...]


def commands_below(command: Command, path: Path = ()) -> Iterator[Path]:
    """The path of every command that is no group."""
    if not isinstance(command, TyperGroup):
        yield path
        return
    for name, each in command.commands.items():
        yield from commands_below(each, (*path, name))


def help_of(command: Command, path: Path) -> str:
    """The help of what a path leads to, with the usage line that names the groups above."""
    context = Context(command, info_name="guqiao")
    for name in path:
        assert isinstance(command, TyperGroup)
        command = command.commands[name]
        context = Context(command, info_name=name, parent=context)
    return command.get_help(context)


def test_every_command_is_the_same_and_the_only_one_that_is_read() -> None:
    paths = list(commands_below(WHOLE))
    assert {("import",), ("dev", "up"), ("dev", "node", "kill"), ("chain", "show")} <= {*paths}
    for path in paths:
        alone = get_command(narrowed(app, [*path, "--data", "folder"]))
        assert list(commands_below(alone)) == [path]
        assert help_of(alone, path) == help_of(WHOLE, path)


@pytest.mark.parametrize("arguments", [[], ["--help"], ["frob"], ["--data", "dev"], ["frob", "up"]])
def test_where_nothing_known_is_named_all_is_read(arguments: list[str]) -> None:
    assert narrowed(app, arguments) is app


@pytest.mark.parametrize("rest", [[], ["--help"], ["frob"], ["kill"]])
def test_a_group_whose_command_is_unknown_is_read_as_a_whole(rest: list[str]) -> None:
    group = get_command(narrowed(app, ["dev", *rest]))
    assert isinstance(group, TyperGroup)
    assert list(group.commands) == ["dev"]
    assert help_of(group, ("dev",)) == help_of(WHOLE, ("dev",))


def test_narrowing_leaves_the_whole_as_it_is() -> None:
    before = list(commands_below(WHOLE))
    get_command(narrowed(app, ["dev", "node", "kill"]))
    assert list(commands_below(get_command(app))) == before
