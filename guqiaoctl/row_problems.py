"""The problems of malformed rows in Chinese: the reader of datasets states them in English.

One line a kind of problem; a test holds that no problem the reader can state is missing here.
"""

from __future__ import annotations

import re
from typing import Final

from guqiao_sdk.market_dataset import RowProblem
from guqiaoctl.output import choose

FIELD_MAX: Final = 100
"""Characters of a field's name that are shown."""

_KINDS: Final = {
    "a company code": "公司代码",
    "a region code of six digits": "六位行政区划代码",
    "an investor code": "投资者代码",
    "a lower-case UUID": "小写 UUID",
    "64 lower-case hexadecimal digits": "64 位小写十六进制数",
    "a string": "字符串",
    "an integer": "整数",
    "a date YYYY-MM-DD": "日期（YYYY-MM-DD）",
    "a date of the calendar": "日历中存在的日期",
    "a time YYYY-MM-DDThh:mm:ss+08:00": "时间（YYYY-MM-DDThh:mm:ss+08:00）",
    "a boolean": "布尔值",
    "an array": "数组",
    "an object": "对象",
    "a type of event": "已定义的业务事件类型",
    "in companies.csv": "companies.csv 中的公司",
    "of the row's kind": "与该行投资者类别一致的代码",
    "UTF-8": "UTF-8 编码",
    "a regular file": "普通文件",
    "later than the line before": "晚于上一行的日期",
}

_SENTENCES: Final = (
    (r"not one of (.*)", "不在允许值之中：{}"),
    (r"not that of kind (.*)", "与投资者类别 {} 不符"),
    (r"not JSON: .* at character (.*)", "第 {} 个字符处不符合 JSON 格式"),
    (r"an opening quotation mark without a closing one", "引号未闭合"),
    (r"a quotation mark where none may stand", "此处不允许出现引号"),
    (r"a carriage return, where lines end with LF alone", "含有回车符（CR），换行只允许 LF"),
    (r"every line ends with CR LF, not with LF alone", "每行以 CR LF 结尾，换行只允许 LF"),
    (r"(.*) is an integer out of range", "整数 {} 超出范围"),
    (r"(.*) is not an integer", "{} 不是整数"),
    (r"an integer out of range", "整数超出范围"),
    (
        r"too long: the row takes (\d+) bytes, a transaction holds (\d+)",
        "过长：该行占 {} 字节，一笔交易最多容纳 {} 字节",
    ),
    (r"too long: the line has more than (\d+) bytes", "过长：该行超过 {} 字节"),
    (r"less than 1", "小于 1"),
    (r"an empty array", "空数组"),
    (r"unknown member", "未定义的成员"),
    (r"missing", "缺少该成员"),
    (r"the member occurs twice", "该成员出现两次"),
    (r"cannot be read: (.*)", "无法读取（{}）"),
    (r"begins with a byte order mark", "以字节顺序标记（BOM）开头"),
    (r"the last line is not ended", "最后一行没有换行"),
    (r"half a surrogate pair, which is no character", "半个代理对，不是字符"),
    (r"the character U\+0000, which no text may hold", "含有字符 U+0000，文本中不允许"),
    (r"nested too deep", "嵌套过深"),
    (r"the header is not (.*)", "表头应为 {}"),
    (r"(\d+) fields where (\d+) belong", "有 {} 个字段，应为 {} 个"),
    (r"the same as in line (\d+)", "与第 {} 行重复"),
    (r"(.*) where (\d+) belongs", "{}，此处应为 {}"),
    (r"(.*) stands behind (\d+), and numbers ascend", "{} 位于 {} 之后，序号应递增"),
    (r"earlier than the line before", "早于上一行"),
    (r"later than the lines after it", "晚于其后各行"),
    (r"found nowhere, unless in (.*), which cannot be read", "未找到，除非是无法读取的 {}"),
    (r"no day, where events need a calendar", "没有任何交易日，而业务事件需要日历"),
    (r"refers to (.*)", "引用了 {}"),
    (r"outside trading_days.txt", "超出 trading_days.txt 的范围"),
)


def show(row: RowProblem) -> str:
    """Return the problem as one line in the user's language, whatever a member's name holds."""
    whole = choose("file", "整个文件") if row.whole_file else choose("row", "整行")
    field = "".join(
        letter if letter.isprintable() else ascii(letter)[1:-1] for letter in row.field[:FIELD_MAX]
    )
    place = f"{row.file}:{row.line}: {field or whole}: "
    return place + choose(row.problem, in_chinese(row.problem) or row.problem)


def in_chinese(problem: str) -> str | None:
    """Return the problem in Chinese, or None where it has no sentence here."""
    kind = _KINDS.get(problem.removeprefix("not "))
    if kind is not None and problem.startswith("not "):
        return f"不是{kind}"
    for pattern, sentence in _SENTENCES:
        found = re.fullmatch(pattern, problem, re.DOTALL)
        if found is not None:
            return sentence.format(*found.groups())
    return None
