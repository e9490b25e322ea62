"""What the documents name exists: links and their anchors, paths, names in the code, make targets,
commands with their options. Each rule is shown to find a planted fault, then run on the tree.

That no file names a machine's path or a package index is held for all files by
test_source_tidiness.py.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cache
from pathlib import PurePosixPath
from typing import Any, Final
from urllib.parse import unquote

import pytest
import typer.main

from guqiaoctl.__main__ import app
from tests.tidy.source import ROOT, sources, tracked_files

# What is asked for and what is planned: their links are checked; what they name may come later.
REFERENCE: Final = (
    "docs/design.md",
    "docs/domain.md",
    "docs/errors.md",
    "docs/market-dataset.md",
    "docs/reliability.md",
    "docs/requirements.md",
)
ADR_SECTIONS: Final = ["Context", "Alternatives", "Decision", "Consequences"]
CHECKED_SUFFIXES: Final = (".py", ".proto", ".sql", ".md", ".in", ".lock")
# Names of fields and options that belong to other programs.
FOREIGN_NAMES: Final = ("ordinals.start",)
BUILT: Final = ("gen", ".venv")

_FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^(#{1,6}) (.+)$", re.MULTILINE)
_PATH = re.compile(r"[\w.<>*-]+(?:/[\w.<>*-]+)*/?")
_NAME = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*")
_COMMAND = re.compile(r"\bguqiao ([a-z][^`;&|()#…\n]*)")
_MAKE = re.compile(r"(?:^|[`;&] ?)(?:\$ )?make ([a-z][a-z-]*)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Document:
    """One Markdown file."""

    path: str
    text: str

    @property
    def prose(self) -> str:
        """The text without its fenced blocks."""
        return _FENCE.sub("", self.text)

    @property
    def code_spans(self) -> list[str]:
        """What stands in backticks in the prose."""
        return _INLINE.findall(self.prose)

    @property
    def fences(self) -> list[str]:
        """The fenced blocks."""
        return _FENCE.findall(self.text)

    @property
    def headings(self) -> list[tuple[int, str]]:
        """Level and text of each heading."""
        return [(len(marks), text) for marks, text in _HEADING.findall(self.prose)]

    @property
    def links(self) -> list[str]:
        """Targets of links within the repository."""
        targets = _LINK.findall(_INLINE.sub("", self.prose))
        return [target for target in targets if "://" not in target]


Rule = Callable[[Document], Iterable[str]]


@cache
def documents() -> tuple[Document, ...]:
    paths = [path for path in tracked_files() if path.endswith(".md")]
    return tuple(Document(path, (ROOT / path).read_text(encoding="utf-8")) for path in paths)


@cache
def entries() -> frozenset[str]:
    """Every tracked file and every folder that holds one."""
    folders = {
        str(folder) for path in tracked_files() for folder in PurePosixPath(path).parents
    } - {"."}
    return frozenset({*tracked_files(), *folders})


@cache
def words_of_code() -> frozenset[str]:
    """Every word in the code, the contracts and the manifests."""
    suffixes = (".py", ".proto", ".star", ".yaml")
    texts = [
        (ROOT / path).read_text(encoding="utf-8")
        for path in tracked_files()
        if path.endswith(suffixes) and not path.startswith("tests/tidy/")
    ]
    return frozenset(word for text in texts for word in re.findall(r"\w+", text))


def resolve(document: Document, target: str) -> str:
    """A link's target as a path from the root; the document itself for a bare anchor."""
    if not target:
        return document.path
    parts: list[str] = []
    for part in (PurePosixPath(document.path).parent / unquote(target)).parts:
        if part == "..":
            assert parts, f"{target} leads out of the repository"
            parts.pop()
        elif part != ".":
            parts.append(part)
    return "/".join(parts)


def anchors(document: Document) -> set[str]:
    """The anchors that a page's headings get."""
    kept = (re.sub(r"[^\w\- ]", "", text.lower()) for _, text in document.headings)
    return {text.replace(" ", "-") for text in kept}


def broken_links(document: Document) -> Iterator[str]:
    by_path = {known.path: known for known in documents()}
    for link in document.links:
        target, _, anchor = link.partition("#")
        path = resolve(document, target)
        if path not in entries() and path != document.path:
            yield f"{document.path}: {link} leads nowhere"
        elif anchor and anchor not in anchors(by_path.get(path, document)):
            yield f"{document.path}: {link} names no heading"


def missing_paths(document: Document) -> Iterator[str]:
    """Paths from the root, and names of source files anywhere."""
    roots = {path.partition("/")[0] for path in entries()}
    for span in document.code_spans:
        wanted = re.sub(r"<\w+>", "*", span).rstrip("/")
        if not _PATH.fullmatch(span) or wanted.partition("/")[0] in BUILT:
            continue
        rooted = "/" in span and wanted.partition("/")[0] in roots
        named = wanted.endswith(CHECKED_SUFFIXES) and any(
            path == wanted or path.endswith(f"/{wanted}") for path in entries()
        )
        if rooted and not any(fnmatch(path, wanted) for path in entries()):
            yield f"{document.path}: there is no `{span}`"
        elif not rooted and wanted.endswith(CHECKED_SUFFIXES) and not named:
            yield f"{document.path}: no file is called `{span}`"


def missing_names(document: Document) -> Iterator[str]:
    """Names that look like code: with an underscore, a dot or an inner capital."""
    for span in document.code_spans:
        name = span.partition("(")[0]
        looks_like_code = re.search(r"_|\.|[a-z][A-Z]", name) is not None
        if not looks_like_code or not _NAME.fullmatch(name) or name.endswith(CHECKED_SUFFIXES):
            continue
        if (
            name in FOREIGN_NAMES
            or name in entries()
            or re.fullmatch(r"\w+\.(?:jsonl?|csv|toml|txt|log|gqb)", name)
        ):
            continue
        missing = [part for part in name.split(".") if part not in words_of_code()]
        if missing:
            yield f"{document.path}: no code knows `{span}`"


def missing_targets(document: Document) -> Iterator[str]:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z][a-z-]*):", makefile, re.MULTILINE))
    for code in [*(f"`{span}" for span in document.code_spans), *document.fences]:
        for target in _MAKE.findall(code):
            if target not in targets:
                yield f"{document.path}: there is no `make {target}`"


def wrong_commands(document: Document) -> Iterator[str]:
    root = typer.main.get_command(app)
    for code in [*document.code_spans, *document.fences]:
        for line in _COMMAND.findall(code):
            fault = command_fault(root, line.split())
            if fault:
                yield f"{document.path}: guqiao {line.strip()}: {fault}"


def command_fault(root: Any, tokens: list[str]) -> str:
    """What is wrong with a command line; empty when all that it names exists."""
    command, rest = root, list(tokens)
    subcommands = getattr(command, "commands", None)
    while subcommands and rest:
        name = rest.pop(0)
        if name not in subcommands:
            return f"there is no command {name}"
        command = subcommands[name]
        subcommands = getattr(command, "commands", None)
    known = {option for parameter in command.params for option in parameter.opts}
    unknown = [token for token in rest if token.startswith("-") and token not in known]
    return f"there is no option {unknown[0]}" if unknown else ""


RULES: Final[list[tuple[Rule, bool, str]]] = [
    (broken_links, True, "[x](docs/none.md)"),
    (broken_links, True, "[x](README.md#no-such-heading)"),
    (missing_paths, False, "`services/nowhere/app.py`"),
    (missing_paths, False, "`no_such_module.py`"),
    (missing_names, False, "`Handlers.fly_away`"),
    (missing_targets, False, "```\nmake tea\n```\n"),
    (missing_targets, False, "`make tea`"),
    (wrong_commands, False, "`guqiao dev fly`"),
    (wrong_commands, False, "```\n$ guqiao dev up --upwards\n```\n"),
    (wrong_commands, False, "```\nX=$(guqiao tx lose 1)\n```\n"),
]


@pytest.mark.parametrize(("rule", "everywhere", "planted"), RULES)
def test_a_rule_finds_what_is_planted_in_a_document(
    rule: Rule, everywhere: bool, planted: str
) -> None:
    assert len(list(rule(Document("PLANTED.md", planted)))) == 1


@pytest.mark.parametrize(
    ("rule", "everywhere"), sorted({(rule, where) for rule, where, _ in RULES}, key=repr)
)
def test_the_documents_keep_the_rule(rule: Rule, everywhere: bool) -> None:
    checked = [d for d in documents() if everywhere or d.path not in REFERENCE]
    assert checked
    assert [problem for document in checked for problem in rule(document)] == []


def test_both_readmes_say_the_same_things() -> None:
    by_path = {document.path: document for document in documents()}
    english, chinese = by_path["README.md"], by_path["README.zh-CN.md"]
    assert [level for level, _ in english.headings] == [level for level, _ in chinese.headings]
    assert len(english.fences) == len(chinese.fences)
    assert Counter(english.links) - Counter(chinese.links) == Counter(["README.zh-CN.md"])
    assert Counter(chinese.links) - Counter(english.links) == Counter(["README.md"])
    folders = [span for span in english.code_spans if span in entries()]
    assert folders == [span for span in chinese.code_spans if span in entries()]


def test_every_decision_has_a_number_of_its_own_four_sections_and_a_place_in_the_list() -> None:
    decisions = [d for d in documents() if d.path.startswith("docs/adr/")]
    numbers = Counter(PurePosixPath(decision.path).name[:4] for decision in decisions)
    assert [number for number, count in numbers.items() if count > 1] == []
    for decision in decisions:
        sections = [text for level, text in decision.headings if level == 2]
        assert sections == ADR_SECTIONS, decision.path
        assert decision.headings[0][1].startswith(PurePosixPath(decision.path).name[:4])
        assert "Status:" in decision.text, decision.path


def test_the_decision_about_the_outbox_names_every_service_that_announces_through_it() -> None:
    users = {
        "/".join(PurePosixPath(source.path).parts[:2])
        for source in sources("services")
        if "outbox.append(" in source.text and not source.path.startswith("services/chassis/")
    }
    assert users
    (decision,) = [d for d in documents() if d.path.startswith("docs/adr/0006-")]
    assert sorted(users - set(decision.code_spans)) == []


def test_every_document_can_be_reached_from_the_readme() -> None:
    by_path = {document.path: document for document in documents()}
    reached, waiting = set(), ["README.md"]
    while waiting:
        path = waiting.pop()
        if path in reached or path not in by_path:
            continue
        reached.add(path)
        document = by_path[path]
        waiting += [resolve(document, link.partition("#")[0]) for link in document.links]
    assert sorted(set(by_path) - reached) == []
