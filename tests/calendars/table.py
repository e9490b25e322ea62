"""Makes `guqiao_sdk/working_days/years.json` from the package `chinesecalendar`.

    python -m tests.calendars.table > guqiao_sdk/working_days/years.json

Notices are those of the General Office of the State Council, 国务院办公厅关于部分节假日安排的通知;
where there are two, the second changed the first.
"""

from __future__ import annotations

import json
import sys
from datetime import date, timedelta
from typing import Any, Final

import chinese_calendar

from guqiao_sdk.working_days import SATURDAY

FORMAT: Final = "guqiao-working-days/1"
NOTICES: Final = {
    2018: ("国办发明电〔2017〕12号",),
    2019: ("国办发明电〔2018〕15号", "国办发明电〔2019〕3号"),
    2020: ("国办发明电〔2019〕16号", "国办发明电〔2020〕1号"),
    2021: ("国办发明电〔2020〕27号",),
    2022: ("国办发明电〔2021〕11号",),
    2023: ("国办发明电〔2022〕16号",),
    2024: ("国办发明电〔2023〕7号",),
    2025: ("国办发明电〔2024〕12号",),
    2026: ("国办发明电〔2025〕7号",),
}


def table() -> dict[str, Any]:
    """The whole file."""
    return {"format": FORMAT, "years": {str(year): _year(year) for year in sorted(NOTICES)}}


def text() -> str:
    """The file as it is kept."""
    return json.dumps(table(), ensure_ascii=False, indent=1) + "\n"


def _year(year: int) -> dict[str, Any]:
    off, worked = [], []
    day = date(year, 1, 1)
    while day.year == year:
        is_weekend, is_worked = day.weekday() >= SATURDAY, chinese_calendar.is_workday(day)
        if is_weekend and is_worked:
            worked.append(day.isoformat())
        if not is_weekend and not is_worked:
            off.append(day.isoformat())
        day += timedelta(days=1)
    return {"notices": [*NOTICES[year]], "off": off, "worked": worked}


if __name__ == "__main__":
    sys.stdout.write(text())
