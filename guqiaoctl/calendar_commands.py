"""`guqiao calendar …`: working days and the deadlines that are counted in them."""

from __future__ import annotations

from typing import Annotated

import typer

from guqiaoctl.options import DEFAULT_DATA, Data, Output, Shown

calendar = typer.Typer(name="calendar", help="Working days 工作日", no_args_is_help=True)


@calendar.command("earliest-cutover")
def calendar_earliest_cutover(
    notice: Annotated[
        str,
        typer.Option("--notice", help="When it was given, RFC 3339 with an offset 通知时间"),
    ],
    working_days: Annotated[
        int, typer.Option("--working-days", help="How many have to pass 工作日数")
    ] = 20,
    data: Data = DEFAULT_DATA,
    output: Output = Shown.TABLE,
) -> None:
    """Tell from which day on a change may take effect 最早切换日. Exit code 5: unknown year.

    By the State Council's notices, with the day of the notice itself not counted.
    """
    from guqiaoctl.commands.calendars import earliest_cutover

    earliest_cutover(notice, working_days, as_json=output is Shown.JSON)


@calendar.command("show")
def calendar_show(
    year: Annotated[int, typer.Argument(metavar="YEAR", help="Such as 2026 年度")],
    data: Data = DEFAULT_DATA,
    output: Output = Shown.TABLE,
) -> None:
    """Show what a year has off and works beside its weeks 年度安排. Exit code 5: unknown year."""
    from guqiaoctl.commands.calendars import show

    show(year, as_json=output is Shown.JSON)
