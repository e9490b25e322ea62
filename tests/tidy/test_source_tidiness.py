"""Rules about the code itself. Each is a function that lists problems, shown to find a planted
one, then run on the tree.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import PurePosixPath
from typing import Final

import pytest

from tests.tidy.source import (
    PACKAGES,
    ROOT,
    Source,
    functions,
    imported_modules,
    parse,
    sources,
    tracked_files,
)

FILE_LINES_MAX: Final = 500
FUNCTION_LINES_MAX: Final = 70

# The words that the PBFT core must not use for what the paper calls otherwise.
BANNED_IN_CORE: Final = {
    "candidate": "primary or backup",
    "election": "view change",
    "follower": "backup",
    "leader": "primary",
    "proposer": "primary",
    "round": "view",
    "term": "view",
    "validator": "replica",
}

# This file names what it forbids.
SELF: Final = "tests/tidy/test_source_tidiness.py"
UNFINISHED: Final = re.compile(r"\b(?:TO" r"DO|FIX" r"ME|XX" r"X|HA" r"CK)\b")
MACHINE_PATHS: Final = re.compile(r"(?<![\w.~-])/(?:wo" r"rk|ho" r"me|ro" r"ot)/\w")
INDEX_HOSTS: Final = re.compile(
    r"(?:py"
    r"pi\.org|python"
    r"hosted\.org|maven"
    r"\.org|npm"
    r"js\.org|golang"
    r"\.org/|--index"
    r"-url)"
)

Rule = Callable[[Source], Iterable[str]]


def long_files(source: Source) -> Iterable[str]:
    count = source.text.count("\n")
    if count > FILE_LINES_MAX:
        yield f"{source.path}: {count} lines, at most {FILE_LINES_MAX}"


def long_functions(source: Source) -> Iterable[str]:
    for function in functions(source):
        count = (function.end_lineno or function.lineno) - function.lineno + 1
        if count > FUNCTION_LINES_MAX:
            yield f"{source.path}:{function.lineno} {function.name}: {count} lines"


def missing_docstrings(source: Source) -> Iterable[str]:
    if source.tree.body and ast.get_docstring(source.tree) is None:
        yield f"{source.path}: the module does not say what it is"


def unfinished_marks(source: Source) -> Iterable[str]:
    if source.path == SELF:
        return
    for number, line in enumerate(source.text.splitlines(), start=1):
        if UNFINISHED.search(line):
            yield f"{source.path}:{number}: finish it, or say it in the documentation"


def prints(source: Source) -> Iterable[str]:
    for node in ast.walk(source.tree):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id == "print"
            and not any(word.arg == "file" for word in node.keywords)
        ):
            yield f"{source.path}:{node.lineno}: services log, they do not print to standard output"


def handlers_that_touch_the_call(source: Source) -> Iterable[str]:
    """Errors are raised and mapped once; items come through the guard, never from the context."""
    if source.path.startswith("services/chassis/grpc_server/"):
        return
    for node in ast.walk(source.tree):
        if (
            isinstance(node, ast.Attribute)
            and node.attr in ("abort", "abort_with_status", "read", "set_code", "set_details")
            and isinstance(node.value, ast.Name)
            and node.value.id in ("context", "_context", "servicer_context")
        ):
            yield f"{source.path}:{node.lineno}: raise a ServiceError; context.{node.attr} is ours"


def banned_words(source: Source) -> Iterable[str]:
    for number, line in enumerate(source.text.splitlines(), start=1):
        # Codes of the rule catalogue are names given by the requirements.
        for word in re.findall(r"[A-Za-z]+", re.sub(r"\b[A-Z0-9_]{3,}\b", "", line)):
            for part in re.findall(r"[A-Z]?[a-z]+", word):
                singular = part.lower().removesuffix("s")
                if singular in BANNED_IN_CORE:
                    yield f"{source.path}:{number}: {part}, say {BANNED_IN_CORE[singular]}"


RULES: Final[list[tuple[Rule, tuple[str, ...], str]]] = [
    (long_files, (), '"""Doc."""\n' + "x = 1\n" * FILE_LINES_MAX),
    (long_functions, (), "def f():\n" + "    x = 1\n" * FUNCTION_LINES_MAX),
    (missing_docstrings, (), "x = 1\n"),
    (unfinished_marks, (), "x = 1  # TODO: y\n"),
    (prints, ("services",), "print('x')\n"),
    (handlers_that_touch_the_call, ("services",), "context.abort(1)\n"),
]


def _name(value: object) -> str | None:
    return getattr(value, "__name__", None)


@pytest.mark.parametrize(("rule", "folders", "planted"), RULES, ids=_name)
def test_a_rule_finds_what_is_planted(rule: Rule, folders: tuple[str, ...], planted: str) -> None:
    assert list(rule(parse("services/planted.py", planted)))


@pytest.mark.parametrize(
    ("rule", "folders"),
    [(rule, folders) for rule, folders, _ in RULES],
    ids=_name,
)
def test_the_tree_keeps_the_rule(rule: Rule, folders: tuple[str, ...]) -> None:
    assert [problem for source in sources(*folders) for problem in rule(source)] == []


IMPURE: Final = frozenset(
    {
        *("now", "utcnow", "today", "time", "time_ns", "monotonic", "perf_counter"),
        *("read_bytes", "read_text", "write_bytes", "write_text", "urandom", "uuid4"),
        *("uuid1", "token_bytes", "token_hex", "token_urlsafe", "randbelow", "getenv"),
    }
)


def impure_calls(source: Source) -> Iterable[str]:
    """Clock, chance and I/O by name: imports of their modules are held by import-linter."""
    for node in ast.walk(source.tree):
        if not isinstance(node, ast.Call):
            continue
        called = node.func
        is_builtin_open = isinstance(called, ast.Name) and called.id == "open"
        if is_builtin_open or (isinstance(called, ast.Attribute) and called.attr in IMPURE):
            yield f"{source.path}:{node.lineno}: {ast.unparse(called)} in a domain"


def domain_sources() -> list[Source]:
    """What decides: the domains of the services, and the proofs."""
    found = [each for each in sources("services") if "domain" in PurePosixPath(each.path).parts]
    return [*found, *sources("guqiao_sdk/proof")]


def test_domains_know_neither_clock_nor_chance_nor_files() -> None:
    for planted in (
        "datetime.now(UTC)",
        "date.today()",
        "time.time_ns()",
        "uuid.uuid4()",
        "secrets.token_hex(8)",
        "Path('x').write_text('y')",
        "open('x')",
    ):
        assert list(impure_calls(parse("services/registry/domain/x.py", f"x = {planted}\n")))
    assert len(domain_sources()) > 50
    assert [problem for each in domain_sources() for problem in impure_calls(each)] == []


def core_sources() -> list[Source]:
    """The PBFT core: the files of the domain itself; contracts and ledger have their own words."""
    return [
        source
        for source in sources("services")
        if PurePosixPath(source.path).parent == PurePosixPath("services/consensus/domain")
    ]


def test_the_core_uses_the_words_of_the_paper() -> None:
    planted = parse("services/consensus/domain/x.py", "next_leader = Validators\n")
    assert len(list(banned_words(planted))) == 2
    assert not list(banned_words(parse("x.py", "REPLICAS = 'SINGLE_ENTITY_VALIDATORS'\n")))
    assert core_sources()
    assert [problem for source in core_sources() for problem in banned_words(source)] == []


def unused_modules(packages: Iterable[Source], importers: Iterable[Source]) -> list[str]:
    imported = imported_modules(importers)
    return [
        source.module
        for source in packages
        if not source.path.endswith(("/__init__.py", "/__main__.py"))
        and source.module not in imported
    ]


def entry_points() -> set[str]:
    """Modules that are started by name: `python -m x.y` in code, Makefile or deployment."""
    texts = [
        (ROOT / path).read_text(encoding="utf-8", errors="replace")
        for path in tracked_files()
        if path == "Makefile" or path.endswith((".py", ".yaml", ".toml", "Dockerfile"))
    ]
    dotted = re.compile(r"\b(?:services|guqiao_sdk|guqiaoctl)(?:\.\w+)+")
    return {name for text in texts for name in re.findall(r'-m["\', ]+([\w.]+)', text)} | {
        name for text in texts for name in dotted.findall(text) if f'"{name}"' in text
    }


def test_every_module_is_used() -> None:
    one, two = parse("services/a.py", '"""A."""'), parse("services/b.py", "import services.a")
    assert unused_modules([one, two], [one, two]) == ["services.b"]
    unused = unused_modules(sources(*PACKAGES), sources())
    assert sorted(set(unused) - entry_points()) == []


def text_files() -> list[tuple[str, str]]:
    skipped = (".lock", ".csv", ".jsonl", ".png", ".ico", ".woff2")
    return [
        (path, (ROOT / path).read_text(encoding="utf-8", errors="replace"))
        for path in tracked_files()
        if not path.endswith(skipped) and path != SELF
    ]


@pytest.mark.parametrize(
    ("pattern", "planted"),
    [
        (MACHINE_PATHS, "open('/" + "work/main/x')"),
        (MACHINE_PATHS, "PATH=/" + "home/me/bin"),
        (INDEX_HOSTS, "https://py" + "pi.org/simple"),
        (INDEX_HOSTS, "--index-url=x"),
    ],
)
def test_no_file_names_this_machine_or_a_package_index(
    pattern: re.Pattern[str], planted: str
) -> None:
    assert pattern.search(planted)
    assert not pattern.search("../work/x and a/home/b and ~/root/x")
    found = [
        f"{path}: {match[0]}" for path, text in text_files() for match in pattern.finditer(text)
    ]
    assert found == []


def test_lock_files_carry_no_index_address() -> None:
    locks = [path for path in tracked_files() if path.endswith(".lock")]
    assert len(locks) >= 2
    for path in locks:
        assert "://" not in (ROOT / path).read_text(encoding="utf-8"), path


TOP_LEVEL: Final = frozenset(
    {".ci", "bench", "data", "deploy", "docs", "guqiao_sdk", "guqiaoctl", "protos"}
    | {"requirements", "services", "tests"}
)


def strangers(paths: Iterable[str]) -> list[str]:
    """What lies in folders that the map does not know, such as what a run left behind, and files
    that no reader can read.
    """
    binary = (".mdb", ".seg", ".key", ".pem", ".db", ".whl", ".jar")
    return [
        path
        for path in paths
        if ("/" in path and path.partition("/")[0] not in TOP_LEVEL) or path.endswith(binary)
    ]


def test_nothing_that_a_run_left_behind_is_part_of_the_project() -> None:
    planted = ["164/data/a.txt", "services/x/vote.key", "docs/a.md", "Makefile"]
    assert strangers(planted) == planted[:2]
    assert strangers(tracked_files()) == []


def test_every_test_module_has_a_name_of_its_own() -> None:
    names = Counter(
        PurePosixPath(path).name
        for path in tracked_files()
        if path.startswith("tests/") and PurePosixPath(path).name.startswith("test_")
    )
    assert [name for name, count in names.items() if count > 1] == []
