"""The states of a template as an SVG picture: the same bytes for the same template everywhere.

States stand one below the other, by how many steps they are from the beginning. A step to the next
one is drawn between the two; every other goes around on the right, in a lane of its own, so no line
meets a box that is not its own. Numbers are whole, texts escaped, and nothing is fetched.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise, product
from typing import Final
from xml.sax.saxutils import escape

from services.consensus.domain.contracts.template.model import State, Template, Transition

BOX_WIDTH: Final = 220
BOX_HEIGHT: Final = 52
GAP: Final = 64
LANE: Final = 18
PORT: Final = 22
LINE: Final = 16
MARGIN: Final = 30
START_RADIUS: Final = 7
CHARACTER: Final = 7
"""About the width of a Latin letter at this size; a Chinese character takes two of it."""
BEGINNING: Final = ""
"""Where a business comes from that begins."""


@dataclass(frozen=True, slots=True)
class _Arrow:
    """All steps from one state, or the beginning, to another."""

    source: str
    target: str
    steps: tuple[Transition, ...]

    @property
    def lines(self) -> list[str]:
        return [f"{each.title.zh} {each.title.en}" for each in self.steps]


def draw_states(template: Template) -> str:
    """The picture as an SVG document, with zh and en in each place."""
    return _Picture(template).document()


class _Picture:
    def __init__(self, template: Template) -> None:
        self._template = template
        order = [BEGINNING, *_in_order(template)]
        following = dict(pairwise(order))
        arrows = _arrows(template)
        self._down = {
            each.source: each for each in arrows if following.get(each.source) == each.target
        }
        self._around = [each for each in arrows if each not in self._down.values()]
        self._tops: dict[str, int] = {}
        top = MARGIN
        for name in order:
            self._tops[name] = top
            below = self._down.get(name)
            top += self._box_height(name) + GAP + LINE * (len(below.steps) - 1 if below else 0)
        self._height = top - GAP + MARGIN
        label = max((_width(_joined(each)) for each in self._around), default=0)
        beside = max(
            (_width(line) for each in self._down.values() for line in each.lines), default=0
        )
        self._lanes = MARGIN + max(BOX_WIDTH + label + LANE, BOX_WIDTH // 2 + beside + LANE)
        self._width = self._lanes + LANE * len(self._around) + MARGIN

    def document(self) -> str:
        title = self._template.title
        lines = [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{self._width}"'
            f' height="{self._height}" viewBox="0 0 {self._width} {self._height}"'
            ' font-family="sans-serif" font-size="13">',
            f"<title>{escape(f'{title.zh} {title.en}')}</title>",
            '<defs><marker id="head" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="8"'
            ' markerHeight="8" orient="auto"><path d="M0,0 L10,5 L0,10 z"/></marker></defs>',
            f'<rect width="{self._width}" height="{self._height}" fill="white"/>',
        ]
        for each in self._down.values():
            lines += self._draw_down(each)
        for number, each in enumerate(self._around):
            lines += self._draw_around(each, self._lanes + LANE * number)
        for state in self._template.states:
            lines += self._draw_state(state)
        x, y = self._middle, self._tops[BEGINNING] + START_RADIUS
        return "\n".join([*lines, f'<circle cx="{x}" cy="{y}" r="{START_RADIUS}"/>', "</svg>\n"])

    # --- Where things are ---------------------------------------------------------------------

    @property
    def _middle(self) -> int:
        return MARGIN + BOX_WIDTH // 2

    def _ports(self, name: str) -> list[tuple[_Arrow, bool]]:
        """What leaves and enters a box on its right, and whether it leaves. From the beginning it
        leaves at the line below it.
        """
        leaving = [(each, True) for each in self._around if each.source == name]
        return leaving + [(each, False) for each in self._around if each.target == name]

    def _box_height(self, name: str) -> int:
        least = 2 * START_RADIUS if name == BEGINNING else BOX_HEIGHT
        return max(least, PORT * (len(self._ports(name)) + 1))

    def _port(self, name: str, arrow: _Arrow, *, leaves: bool) -> tuple[int, int]:
        place = self._ports(name).index((arrow, leaves))
        y = self._tops[name] + PORT * (place + 1)
        if name != BEGINNING:
            return MARGIN + BOX_WIDTH, y
        return self._middle, y

    # --- What is drawn ------------------------------------------------------------------------

    def _draw_down(self, arrow: _Arrow) -> Iterator[str]:
        is_start = arrow.source == BEGINNING
        height = 2 * START_RADIUS if is_start else self._box_height(arrow.source)
        y = self._tops[arrow.source] + height
        to_y = self._tops[arrow.target]
        yield _path(f"M{self._middle},{y} L{self._middle},{to_y}")
        first = (y + to_y) // 2 + 4 - LINE * (len(arrow.steps) - 1) // 2
        for number, line in enumerate(arrow.lines):
            yield _text(self._middle + 10, first + LINE * number, line)

    def _draw_around(self, arrow: _Arrow, lane: int) -> Iterator[str]:
        x, y = self._port(arrow.source, arrow, leaves=True)
        to_x, to_y = self._port(arrow.target, arrow, leaves=False)
        yield _path(f"M{x},{y} L{lane},{y} L{lane},{to_y} L{to_x},{to_y}")
        yield _text(MARGIN + BOX_WIDTH + 8, y - 4, _joined(arrow))

    def _draw_state(self, state: State) -> Iterator[str]:
        top, height = self._tops[state.name], self._box_height(state.name)
        stroke = 3 if state.is_final else 1
        yield (
            f'<rect x="{MARGIN}" y="{top}" width="{BOX_WIDTH}" height="{height}" rx="8"'
            f' fill="#eef3fa" stroke="black" stroke-width="{stroke}"/>'
        )
        first = top + height // 2 - 5
        for number, text in enumerate((state.title.zh, f"{state.title.en} · {state.name}")):
            fits = _width(text) <= BOX_WIDTH - 12
            squeezed = "" if fits else f' textLength="{BOX_WIDTH - 12}"'
            yield (
                f'<text x="{self._middle}" y="{first + 18 * number}" text-anchor="middle"'
                f'{squeezed} lengthAdjust="spacingAndGlyphs">{escape(text)}</text>'
            )


def _arrows(template: Template) -> list[_Arrow]:
    between: dict[tuple[str, str], list[Transition]] = {}
    for each in template.transitions:
        for source, target in product(each.sources or (BEGINNING,), each.targets):
            between.setdefault((source, target), []).append(each)
    return [_Arrow(*ends, tuple(steps)) for ends, steps in between.items()]


def _in_order(template: Template) -> list[str]:
    """The states by how many steps they are from the beginning, then as the template lists them."""
    steps: dict[str, int] = {}
    reached = {to for each in template.transitions if not each.sources for to in each.targets}
    while reached:
        steps |= dict.fromkeys(reached, len(steps))
        further = {
            to
            for each in template.transitions
            if steps.keys() & {*each.sources}
            for to in each.targets
        }
        reached = further - steps.keys()
    return sorted((each.name for each in template.states), key=steps.__getitem__)


def _joined(arrow: _Arrow) -> str:
    return "; ".join(arrow.lines)


def _width(text: str) -> int:
    return sum(CHARACTER * (1 if character < "\u1100" else 2) for character in text)


def _path(way: str) -> str:
    return f'<path d="{way}" fill="none" stroke="black" marker-end="url(#head)"/>'


def _text(x: int, y: int, text: str) -> str:
    return f'<text x="{x}" y="{y}">{escape(text)}</text>'
