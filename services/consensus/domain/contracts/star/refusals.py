"""Why a source is not star/1: a sentence for each rule, in Chinese and English."""

from __future__ import annotations

from typing import Final

SENTENCES: Final[dict[str, tuple[str, str]]] = {
    "access": (
        "ACCESS 必须是一个字典，含 read 和 write 两项，各为键前缀字符串的列表；"
        "另可含 call 项，为“合约.方法”字符串的列表。",
        "ACCESS is a dict with the members read and write, each a list of key prefixes, and call,"
        " where it calls others, a list of contract.method.",
    ),
    "argument": (
        "参数个数或名称与函数的定义不符。",
        "The arguments do not fit what the function takes.",
    ),
    "assignment": (
        "只能给局部变量、列表元素或字典项赋值，且不能链式赋值。",
        "One target is assigned to: a local name, an element of a list or an entry of a dict.",
    ),
    "attribute": (
        "属性不在许可的方法之列；方法只能直接调用。",
        "This attribute is no method that star/1 allows; methods can only be called.",
    ),
    "bidirectional": (
        "源代码中不得有双向控制、零宽或其他看不见的字符。",
        "Characters that turn the direction of text, or cannot be seen, are not allowed.",
    ),
    "break": (
        "break 和 continue 只能在 for 循环之内。",
        "break and continue stand in a for loop only.",
    ),
    "call": ("只能按名称直接调用函数。", "A function is called by its name only."),
    "chained_comparison": (
        "比较不能连写，请用 and 连接。",
        "Comparisons are not chained; join them with and.",
    ),
    "character": (
        "字符串和注释之外只能用 ASCII 字符。",
        "Outside strings and comments only ASCII characters are allowed.",
    ),
    "concatenation": (
        "相邻的字符串不会自动拼接，请用 +。",
        "Strings side by side are not joined; join them with +.",
    ),
    "comprehension": (
        "推导式最多两个 for，且须遍历列表、字典或 range。",
        "A comprehension has at most two for clauses.",
    ),
    "constant": (
        "顶层只能定义函数和由字面量构成的常量。",
        "At the top level stand functions, and constants made of literals.",
    ),
    "control_character": (
        "源代码中不得有控制字符（换行除外）；缩进请用空格。",
        "Control characters other than line ends are not allowed; indent with spaces.",
    ),
    "default_argument": (
        "默认参数只能是整数、字符串、布尔值或 None。",
        "The default of a parameter is an int, a string, a bool or None, nothing that can change.",
    ),
    "deep": ("嵌套过深。", "This is nested too deep."),
    "division": ("不支持 /，整数除法请用 //。", "There is no /; integers are divided by //."),
    "duplicate": ("名称重复。", "This name is defined twice."),
    "engine": ("未知的合约引擎。", "This engine is not known."),
    "float": (
        "不支持浮点数；金额以分、股份以股为整数。",
        "There are no floats; money is whole fen, shares are whole numbers.",
    ),
    "form": ("规范形式不合法。", "This is not a canonical form of star/1."),
    "import": ("不支持 import 和 load。", "There is no import and no load."),
    "integer": ("整数超出 255 位。", "This integer is beyond 255 bits."),
    "key_twice": ("字典中同一个键出现两次。", "This key stands in the dict twice."),
    "lambda": (
        "lambda 只能用作 sorted、min、max 的 key，且只能使用自己的参数、常量和函数。",
        "A lambda is the key of sorted, min or max, and uses its own parameter, constants and"
        " functions only.",
    ),
    "large": ("源代码过长。", "The source is too large."),
    "look_alike": (
        "一个词里不得混用拉丁字母与西里尔、希腊等形似的字母。",
        "One word does not mix letters of scripts that look alike, such as Latin and Cyrillic.",
    ),
    "name": ("名称未定义。", "This name is not defined."),
    "name_reserved": ("这个名称已被占用或保留。", "This name is taken or reserved."),
    "nested_function": ("函数不能嵌套定义。", "Functions are not defined inside functions."),
    "operator": ("star/1 没有这个运算符。", "star/1 does not have this operator."),
    "range": ("range 只能直接用在 for 之后的 in 里。", "range stands only after the in of a for."),
    "recursion": (
        "函数不得直接或间接调用自己。",
        "A function does not call itself, through others either.",
    ),
    "star_argument": ("不支持 * 和 ** 参数。", "There are no * and ** arguments."),
    "statement": ("star/1 没有这种语句。", "star/1 does not have this statement."),
    "string": (
        "字符串只能是普通字符串，不长于 65,536 个字符，不含 NUL 和单独的代理字符。",
        "A string is a plain one, without a prefix, of at most 65,536 characters, none of them NUL"
        " or half of a pair.",
    ),
    "syntax": ("语法错误。", "This is not valid syntax."),
    "tuple": ("没有元组；请用列表。", "There are no tuples; use a list."),
    "escape": (
        "未知的转义；可用 \\\\ \\' \\\" \\a \\b \\f \\n \\r \\t \\v、不大于 \\177 的八进制、"
        "不大于 \\x7F 的 \\x、\\u 加四位和 \\U 加八位十六进制数，以及行末的反斜杠。",
        "This escape is not known; there are \\\\ \\' \\\" \\a \\b \\f \\n \\r \\t \\v, octal up to"
        " \\177, \\x up to \\x7F, \\u with four and \\U with eight hexadecimal digits, and \\ at"
        " the end of a line.",
    ),
    "expression": ("star/1 没有这种表达式。", "star/1 does not have this expression."),
    "utf8": ("源代码不是 UTF-8。", "The source is not UTF-8."),
    "while": ("不支持 while；请用 for 和 range。", "There is no while; use for over a range."),
}
