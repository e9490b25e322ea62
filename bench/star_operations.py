"""The operations of `star/1`, each on what is dearest to it, for `bench.star_gas`."""

from __future__ import annotations

from typing import Final

_LONG_NEEDLE: Final = ('h = "a" * 2499', 'n = "a" * 1249 + "ba"')
_ORBIT: Final = (
    "t = 0",
    "d = {}",
    "for i in range(9990):",
    "    d[t] = 1",
    "    t = (t * 5 + 1) % 16384",
)
"""Keys that fill just the places of a hash table that a search for `_MET` goes through in turn."""
_MET: Final = "68643"
_KEYED: Final = ("d = {str(i): 1 for i in range(10000)}",)
_HOLLOW: Final = (
    "d = {}",
    "for i in range(10000):",
    "    d[str(i)] = 1",
    "for i in range(9999):",
    "    d.pop(str(i))",
)
_ZEROS: Final = ("a = [0] * 10000",)
_LARGE: Final = ("a = 1", "for i in range(254):", "    a = a * 2")
_WIDE_CHARS: Final = ('a = "\U0001f600" * 65000', 'b = "\U0001f600" * 65000')
_LIKE: Final = ('a = "x" * 6499 + "1"', 'b = "x" * 6499 + "2"', 'c = "x" * 6499 + "\U0001f600"')
_MIXED: Final = "[a, c, b, c, a, b, c, b, a, b, c, a, c, a] * 10"

_ENTRIES: Final = ("for i in range(1000):", '    put("a/" + str(i), 1)')
_LISTS: Final = ("for i in range(20):", '    put("a/" + str(i), [0] * 5000)')

OPERATIONS: Final[dict[str, tuple[tuple[str, ...], str]]] = {
    "pass": ((), "pass"),
    "find, long needle": (_LONG_NEEDLE, "h.find(n)"),
    "find, long needle, other end": (('h = "a" * 2499', 'n = "ab" + "a" * 1249'), "h.find(n)"),
    "find, middle, wide": (
        ('h = "\u80a1" * 29999', 'n = "\u80a1" * 49 + "b" + "\u80a1" * 49'),
        "h.find(n)",
    ),
    "find, short needle": (('h = "a" * 65000', 'n = "aaaab"'), "h.find(n)"),
    "count, long needle": (_LONG_NEEDLE, "h.count(n)"),
    "in, long needle": (_LONG_NEEDLE, "n in h"),
    "split, long needle": (_LONG_NEEDLE, "h.split(n)"),
    "replace, long needle": (_LONG_NEEDLE, "h.replace(n, n)"),
    "replace, each": (('h = "a" * 30000',), 'h.replace("a", "bb")'),
    "replace, between": (('h = "a" * 30000',), 'h.replace("", "b")'),
    "split, each": (('h = "a," * 9000',), 'h.split(",")'),
    "lower, wide": (('h = "\u80a1" * 60000',), "h.lower()"),
    "upper, wide": (('h = "\U0001f600" * 60000',), "h.upper()"),
    "upper": (('h = "a" * 60000',), "h.upper()"),
    "strip, blanks": (('h = " " * 65000',), "h.strip()"),
    "strip, blanks, wide": (('h = " " * 64999 + "\U0001f600"',), "h.lstrip()"),
    "isdigit": (('h = "9" * 65000',), "h.isdigit()"),
    "startswith, wide": (_WIDE_CHARS, "a.startswith(b)"),
    "join, empty texts": (('x = [""] * 10000',), '"".join(x)'),
    "join": (('x = ["ab"] * 10000',), '",".join(x)'),
    "equal texts, wide": (_WIDE_CHARS, "a == b"),
    "compare texts of two widths": (_LIKE, "a < c"),
    "concatenate, wide": (('a = "\U0001f600" * 30000',), "a + a"),
    "repeat, wide": ((), '"\U0001f600" * 65000'),
    "slice of a text, backwards": (_WIDE_CHARS, "a[::-1]"),
    "slice of a text that narrows": (('a = "a" * 64999 + "\U0001f600"',), "a[:64999]"),
    "str of a large int": (_LARGE, "str(a)"),
    "int of a long text": (('a = "9" * 76',), "int(a)"),
    "long key, in": (('a = "a" * 65000', 'b = "a" * 65000', "d = {a: 1}"), "b in d"),
    "long key, wide": ((*_WIDE_CHARS, "d = {a: 1}"), "d[b]"),
    "long key, setting": ((*_WIDE_CHARS, "d = {a: 1}"), "d[b] = 2"),
    "long key, default": ((*_WIDE_CHARS, "d = {a: 1}"), "d.setdefault(b, 2)"),
    "int keys that meet, in": (_ORBIT, f"{_MET} in d"),
    "int keys that meet, get": (_ORBIT, f"d.get({_MET})"),
    "int keys that meet, update": (
        (*_ORBIT, f"e = {{{_MET}: 1}}"),
        f"d.update(e)\n            d.pop({_MET}, 0)",
    ),
    "dict made": ((), '{"a": 1, "b": [1, 2], "c": {}}'),
    "dict of entries popped, keys": (_HOLLOW, "d.keys()"),
    "dict of entries popped, loop": (_HOLLOW, "for k in d:\n                pass"),
    "dict, keys": (_KEYED, "d.keys()"),
    "dict, items": (_KEYED, "d.items()"),
    "dict, list": (_KEYED, "list(d)"),
    "dict, copy": (("d = {str(i): 1 for i in range(1000)}",), "dict(d)"),
    "dict, update": ((*_KEYED, "e = dict(d)"), "d.update(e)"),
    "dict, pop": (("d = {}",), 'd["a"] = 1\n            d.pop("a")'),
    "dicts, equal": ((*_KEYED, "e = dict(d)"), "d == e"),
    "dicts of long keys, equal": (
        (
            'd = {"\U0001f600" * 6000 + str(i): 1 for i in range(100)}',
            'e = {"\U0001f600" * 6000 + str(i): 1 for i in range(100)}',
        ),
        "d == e",
    ),
    "list, slice of one": (_ZEROS, "a[0:1]"),
    "list, times nothing": (_ZEROS, "a * 0"),
    "list, in": (_ZEROS, "1 in a"),
    "lists, equal": ((*_ZEROS, "b = [0] * 10000"), "a == b"),
    "list, plus": (("a = [0] * 5000",), "a + a"),
    "list, plus nothing, in place": (("a = []",), "a += []"),
    "list, in place": (("a = [0] * 5000",), "b = []\n            b += a"),
    "list, insert and pop": (("a = [0] * 9990",), "a.insert(0, 1)\n            a.pop(0)"),
    "list, append and pop": (("a = []",), "a.append(1)\n            a.pop()"),
    "list, clear": (_ZEROS, "e = a + []\n            e.clear()"),
    "list, element": (_ZEROS, "a[5]"),
    "list, setting": (_ZEROS, "a[5] = 1"),
    "enumerate": (_ZEROS, "enumerate(a)"),
    "zip": (_ZEROS, "zip(a, a)"),
    "any": (_ZEROS, "any(a)"),
    "min": (_ZEROS, "min(a)"),
    "max by key": (_ZEROS, "max(a, key=lambda x: x)"),
    "reversed": (_ZEROS, "reversed(a)"),
    "sorted, ints": (("a = [x * 7919 % 10007 for x in range(10000)]",), "sorted(a)"),
    "sorted, like texts": ((*_LIKE, f"x = {_MIXED}"), "sorted(x)"),
    "sorted by key": (
        ("a = [x * 7919 % 10007 for x in range(1000)]",),
        "sorted(a, key=lambda x: -x)",
    ),
    "multiply": (("a = 1", "for i in range(126):", "    a = a * 2"), "a * a"),
    "divide": ((*_LARGE, "b = a // 7"), "a // b"),
    "comprehension": (_ZEROS, "[x for x in a]"),
    "comprehension, nested": (_ZEROS, "[1 for x in a for y in [x]]"),
    "comprehension, of a dict": ((), "{str(x): x for x in range(10)}"),
    "logic": (("a = 0",), "a or a or a or a and a"),
    "conditional": (("a = 0",), "(1 if a else 2) if a else (2 if a else 1)"),
    "if": (("a = 0",), "if a:\n                pass\n            elif a:\n                pass"),
    "unpack": (("a = [0] * 8",), "[b, c, d, e, f, g, h, k] = a"),
    "assign in place": (("a = 0",), "a += 1"),
    "call": ((), "_none()"),
    "call, many names": ((), "_wide()"),
    "call, keywords": ((), "_three(c=1, b=2, a=3)"),
    "sm3": ((), 'sm3("")'),
    "sm3, long": (_WIDE_CHARS, "sm3(a)"),
    "sender": ((), "sender()"),
    "height": ((), "height()"),
    "require": ((), 'require(True, "CODE_OF_IT")'),
    "get": (('put("a/b", 1)',), 'get("a/b")'),
    "get, list": (('put("a/b", [0] * 10000)',), 'get("a/b")'),
    "get, long key": (('put("a/b", {"\u80a1" * 30000: 1})',), 'get("a/b")'),
    "put": ((), 'put("a/b", 1)'),
    "scan of one": (('put("a/b", 1)',), 'scan("a/", 1)'),
    "scan": (_ENTRIES, 'scan("a/", 1000)'),
    "scan of one of many": (_ENTRIES, 'scan("a/", 1)'),
    "scan of lists": (_LISTS, 'scan("a/", 20)'),
    "scan past what was deleted": (
        (*_ENTRIES, "for i in range(999):", '    delete("a/" + str(i))'),
        'scan("a/", 1)',
    ),
    "emit": ((), 'emit("told", 1)'),
    "emit, list": (_ZEROS, 'emit("told", a)'),
    "emit, objects": (('a = [{"b": i, "c": ""} for i in range(3000)]',), 'emit("told", a)'),
    "emit, wide": (_WIDE_CHARS, 'emit("told", a)'),
    "call of a contract": ((), 'call("other", "none")'),
    "call of a contract, list": (_ZEROS, 'call("other", "same", value=a)'),
    "call of a contract, wide": (_WIDE_CHARS, 'call("other", "same", value=a)'),
}
"""What is set first, and what is repeated."""

ON_THE_LEDGER: Final = ("scan", "emit", "call of a contract")
"""How operations begin whose cost is the ledger's as much as the engine's: they run on its host."""

_HELPERS: Final = (
    'ACCESS = {"read": ["a/"], "write": ["a/"], '
    '"call": ["other.none", "other.same"]}\n\n'
    "def _none():\n    pass\n\n"
    "def _three(a, b, c):\n    pass\n\n"
    "def _wide():\n    if True:\n        return 1\n"
    + "".join(
        f"    [{', '.join(f'n{row * 400 + number}' for number in range(400))}] = []\n"
        for row in range(20)
    )
)


def source_of(name: str) -> str:
    """A contract whose `go` repeats the operation, `rounds` times ten thousand."""
    setting, body = OPERATIONS[name]
    lines = "".join(f"    {line}\n" for line in setting)
    helpers = _HELPERS if "_wide" in body else _HELPERS.split("def _wide")[0]
    return (
        f"{helpers}\ndef go(rounds):\n{lines}"
        "    for outer in range(rounds):\n        for inner in range(10000):\n"
        f"            {body}\n"
    )
