"""Random programs of the subset that star/1 shares with Starlark.

Typed as they are made, so that most of them run; some meet what is no value (an index too large, a
division by zero), and then both engines must say so.
"""

from __future__ import annotations

from random import Random

INTS = ("a", "b", "i")
STRINGS = ("s", "t")
LISTS = ("xs", "ys", "zs")
TEXTS = ('""', '"a"', '"股份"', '"a,b,,c"', '" X y "', '"0042"', '"a\\tb"', "'\\x41\\'\\102\\\\'")
NO_TEXTS = ('"\\q"', '"\\N{DIGIT ONE}"', '"a" "b"', '("a"\n        "b")')
"""Neither engine knows these."""
HELPERS = """
def told(log, x):
    log.append(x)
    return x

def three(p, q=2, r=3):
    return p * 100 + q * 10 + r
"""


class Programs:
    """Sources of one function `f(a, b, s, xs)`, by the seed. `zs` is often another name of `ys`:
    calls write to both, so that it shows what happens to them, and in which order. Some of those
    that may be refused have what neither engine knows.
    """

    def __init__(self, seed: int, *, may_be_refused: bool = False) -> None:
        self._random = Random(seed)
        self._may_be_refused = may_be_refused

    def source(self) -> str:
        """One program; it returns everything that it computed."""
        twice = self._pick("1", "2", "3", '"a"') if self._is_refused() else "-1"
        lines = [f'K = {{1: "a", 2: "", {twice}: "K", "a": "b"}}', HELPERS]
        lines += ["def f(a, b, s, xs):", "    t = s", "    ys = []", "    zs = ys"]
        lines += ["    i = 0", "    d = {}", '    m = {"k": ys}']
        if self._is_refused():
            lines.append(f"    t = {self._pick(*NO_TEXTS)}")
        for _ in range(self._random.randint(2, 7)):
            lines += self._statement(1, in_loop=False)
        if self._random.randrange(2):
            lines.append(f"    b = {self._keywords()}")
        lines.append("    return [a, b, i, s, t, xs, ys, zs, m, d, d.keys()]")
        return "\n".join(lines) + "\n"

    def _is_refused(self) -> bool:
        return self._random.randrange(24) == 0 and self._may_be_refused

    def _pick(self, *choices: str) -> str:
        return self._random.choice(choices)

    def _statement(self, depth: int, *, in_loop: bool) -> list[str]:
        pad, kind = "    " * depth, self._random.randrange(10)
        if kind == 0 and depth < 3:
            body = self._statement(depth + 1, in_loop=in_loop)
            other = self._statement(depth + 1, in_loop=in_loop)
            return [f"{pad}if {self.boolean(2)}:", *body, f"{pad}else:", *other]
        if kind == 1 and depth < 3:
            over = self._pick(
                f"range({self.small()})", f"range({self.small()}, {self.small()}, 2)", self.list(1)
            )
            body = self._statement(depth + 1, in_loop=True) + self._statement(
                depth + 1, in_loop=True
            )
            return [f"{pad}for i in {over}:", *body]
        if kind == 2 and in_loop:
            return [f"{pad}if {self.boolean(1)}:", f"{pad}    {self._pick('break', 'continue')}"]
        return [pad + self._simple(in_loop=in_loop)]

    def _simple(self, *, in_loop: bool) -> str:
        """In a loop no element of a list is assigned to, for the loop may go over that list: the
        specification refuses it, and the other engine does it.
        """
        found = self._any_simple()
        while in_loop and found.startswith("xs["):
            found = self._any_simple()
        return found

    def _any_simple(self) -> str:
        return self._pick(
            self._with_effects(),
            self._with_effects(),
            f"{self._pick('a', 'b')} = {self.integer(3)}",
            f"{self._pick('a', 'b')} {self._pick('+=', '-=', '*=')} {self.integer(1)}",
            f"t = {self.text(2)}",
            f"ys = {self.list(2)}",
            f"ys.append({self.integer(2)})",
            f"xs[{self.small()}] = {self.integer(1)}",
            f"ys = ys + [{self.integer(1)}]",
            f"d[{self.text(1)}] = {self.integer(2)}",
            f"d[{self.text(0)}] = d.get({self.text(0)}, 0) + 1",
            f"t += {self.text(1)}",
            f"ys.insert({self.small()}, {self.integer(1)})",
            f"d.pop({self.text(0)}, None)",
            f"a, b = [{self.integer(1)}, {self.integer(1)}]",
        )

    def _with_effects(self) -> str:
        """What others see who know the same list, or what depends on who comes first. The target of
        `+=` has no effects: the other engine evaluates it twice, against the specification.
        """
        return self._pick(
            "zs = ys",
            "ys = zs",
            'm["k"] = zs',
            f"zs += {self.list(1)}",
            f"ys += {self.list(2)}",
            "ys += {1: 2, 3: 4}",
            f"t = K[{self.small()}]",
            f"ys += {self.integer(0)}",
            f'm["k"] += {self.list(1)}',
            f"xs[{self.small()}] += told(ys, {self.small()})",
            f"a = {self._keywords()}",
            f"ys.extend({{{self.small()}: 1}})",
            f"d = {{{self.text(0)}: {self.integer(1)}, {self.text(0)}: {self.integer(0)}}}",
            f"d = {{{self.text(0)}: told(ys, 1), {self.text(0)}: told(zs, 2)}}",
        )

    def _keywords(self) -> str:
        """A call whose arguments tell in which order they were evaluated."""
        names = list(self._pick("pqr", "rqp", "qp", "rp", "qrp", "prq"))
        given = [f"{name}=told(ys, {self.small()})" for name in names]
        if self._random.randrange(2):
            place = names.index("p")
            first = given.pop(place).removeprefix("p=")
            given.insert(0, first)
        return f"three({', '.join(given)})"

    def small(self) -> str:
        return str(self._random.randint(-3, 6))

    def integer(self, depth: int) -> str:
        if depth == 0:
            return self._pick("a", "b", "i", self.small(), "len(xs)", "len(t)")
        below = depth - 1
        return self._pick(
            self.integer(0),
            f"({self.integer(below)} {self._pick('+', '-', '*', '//', '%')} {self.integer(below)})",
            f"(-{self.integer(below)})",
            f"({self.integer(below)} if {self.boolean(below)} else {self.integer(below)})",
            f"xs[{self.integer(0)}]",
            f"(xs[{self.integer(0)} % len(xs)] if xs else {self.small()})",
            f"(ys[{self.integer(0)} % len(ys)] if ys else {self.small()})",
            f"abs({self.integer(below)})",
            f"max({self.list(below)} + [0])",
            f"min([{self.integer(0)}] + {self.list(below)})",
            f"max({self.list(below)})",
            f"{self.text(below)}.find({self.text(0)})",
            f"{self.text(below)}.count({self.text(0)})",
            f"int({self._pick('str(a)', chr(34) + '17' + chr(34))})",
        )

    def boolean(self, depth: int) -> str:
        if depth == 0:
            return self._pick("True", "False", "a == b", "s == t", "a < b")
        below = depth - 1
        return self._pick(
            f"({self.integer(below)} {self._pick('==', '!=', '<', '<=', '>', '>=')}"
            f" {self.integer(below)})",
            f"({self.text(below)} {self._pick('==', '!=', '<', '>=')} {self.text(below)})",
            f"({self.list(below)} == {self.list(below)})",
            f"({self.boolean(below)} {self._pick('and', 'or')} {self.boolean(below)})",
            f"(not {self.boolean(below)})",
            f"({self.integer(below)} {self._pick('in', 'not in')} {self.list(below)})",
            f"({self.text(0)} in {self.text(below)})",
            f"({self.text(0)} in d)",
            f"{self.text(below)}.{self._pick('startswith', 'endswith')}({self.text(0)})",
            f"any({self.list(below)})",
            "(1 == True)",
        )

    def text(self, depth: int) -> str:
        if depth == 0:
            return self._pick("s", "t", *TEXTS)
        below = depth - 1
        return self._pick(
            self.text(0),
            f"({self.text(below)} + {self.text(below)})",
            f"({self.text(below)} * {self._random.randint(-1, 3)})",
            f"{self.text(below)}[{self.small()}:{self.small()}]",
            f"{self.text(below)}[::{self._pick('1', '2', '-1')}]",
            f"{self.text(below)}.replace({self.text(0)}, {self.text(0)})",
            f"str({self.integer(below)})",
            f'"-".join([str(x) for x in {self.list(below)}])',
            f"{self._pick('s', 't')}.{self._pick('strip', 'lstrip', 'rstrip')}()",
        )

    def list(self, depth: int) -> str:
        if depth == 0:
            return self._pick(*LISTS, "[]", "[1, 2, 3]")
        below = depth - 1
        return self._pick(
            self.list(0),
            f"[{self.integer(below)}, {self.integer(below)}]",
            f"({self.list(below)} + {self.list(below)})",
            f"({self.list(below)} * {self._random.randint(-1, 2)})",
            f"{self.list(below)}[{self.small()}:{self.small()}]",
            f"{self.list(below)}[::{self._pick('2', '-1')}]",
            f"[x + {self.integer(0)} for x in {self.list(below)} if x != {self.integer(0)}]",
            f"[x * y for x in {self.list(0)} for y in {self.list(0)}]",
            f"[y for x in [[{self.integer(0)}] for z in {self.list(0)}] for y in x]",
            f"[len([y for y in {self.list(0)} if y > x]) for x in {self.list(0)} if x in xs]",
            f"[three(r=told(ys, x), p=x) for x in {self.list(0)}]",
            f"sorted({self.list(below)}, reverse={self._pick('True', 'False')})",
            f"sorted({self.list(below)}, key=lambda x: -x)",
            f"list({self.list(below)})",
            "[x[0] for x in enumerate(xs)]",
        )
