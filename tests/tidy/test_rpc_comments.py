"""Every RPC tells in its comment which errors it gives, each under the status that the rule
catalogue gives it; a service's comment names what the guard before every method answers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import grpc
import pytest

from guqiao_sdk import rules
from tests.tidy.source import ROOT, Source, sources
from tests.tidy.test_codes_in_catalogue import raised_codes

COMMENT = re.compile(r"(?:^ *//.*\n)+", re.MULTILINE)
RPC = re.compile(r"((?:^ *//.*\n)*)^ *rpc (\w+)", re.MULTILINE)
SERVICE = re.compile(r"((?:^//.*\n)*)^service (\w+)", re.MULTILINE)
STATUS: Final = "|".join(sorted((status.name for status in grpc.StatusCode), key=len, reverse=True))
NAMED = re.compile(rf"\b({STATUS}) \(([^()]+)\)")
BARE = re.compile(rf"\b({STATUS})\b")
CODE = re.compile(r"\b[A-Z][A-Z0-9]+(?:_[A-Z0-9]+)*\b")

GUARDS: Final = tuple(
    f"services/chassis/grpc_server/{name}.py"
    for name in ("guard", "rate", "request_signature", "tunnel_peers", "wrapping")
)
NOT_OF_EVERY_METHOD: Final = frozenset(
    {
        "METHOD_UNKNOWN",  # No method of a service.
        "STREAM_IDLE",  # Streams only.
        "STREAM_ITEM_INVALID",  # Streams of signed items, which no service has.
    }
)


def without_errors(text: str) -> list[str]:
    return [name for comment, name in RPC.findall(text) if "Errors:" not in comment]


def wrong_statuses(text: str) -> Iterator[str]:
    """What the comments of a contract say of statuses and codes, and the catalogue does not."""
    for comment in map(joined, COMMENT.findall(text)):
        for status, inside in NAMED.findall(comment):
            codes = CODE.findall(inside)
            if not codes:
                yield f"{status} without a code"
            for code in codes:
                if code not in rules.catalogue():
                    yield f"{code} is not in the catalogue"
                elif rules.rule(code).grpc != status:
                    yield f"{code} as {status}, the catalogue says {rules.rule(code).grpc}"
        rest = NAMED.sub("", comment)
        yield from (f"{status} without a code" for status in BARE.findall(rest))
        _, _, errors = rest.partition("Errors")
        yield from (f"{code} without a status" for code in CODE.findall(errors) if is_known(code))


def is_known(code: str) -> bool:
    return code in rules.catalogue() and not BARE.fullmatch(code)


def unnamed_answers(text: str, answers: Iterable[str]) -> list[str]:
    """The answers of every method that the comment of a contract's service does not name."""
    service = SERVICE.search(text)
    assert service is not None
    _, _, errors = joined(service[1]).partition("Errors on every method:")
    return sorted(set(answers) - set(CODE.findall(errors)))


def guard_answers(guards: Iterable[Source]) -> set[str]:
    codes = {code for source in guards for _, code, _ in raised_codes(source)}
    assert codes > NOT_OF_EVERY_METHOD
    return codes - NOT_OF_EVERY_METHOD


def joined(comment: str) -> str:
    return " ".join(line.strip().removeprefix("//").strip() for line in comment.splitlines())


def contracts() -> list[Path]:
    return sorted((ROOT / "protos").rglob("*_service.proto"))


def test_every_rpc_names_its_errors() -> None:
    found = {path.name: without_errors(path.read_text(encoding="utf-8")) for path in contracts()}
    assert len(found) == 5
    assert not any(found.values()), found


def test_a_comment_that_names_none_is_found() -> None:
    text = (
        "  // Gives. Errors: none.\n  rpc Give(A) returns (B);\n\n"
        "  // Takes.\n  rpc Take(A) returns (B);\n"
    )
    assert without_errors(text) == ["Take"]


def test_every_code_stands_under_the_status_of_the_catalogue() -> None:
    texts = [path.read_text(encoding="utf-8") for path in (ROOT / "protos").rglob("*.proto")]
    assert sum(len(NAMED.findall(joined(text))) for text in texts) > 20
    assert [problem for text in texts for problem in wrong_statuses(text)] == []


@pytest.mark.parametrize(
    ("comment", "problem"),
    [
        (
            "Errors: ABORTED\n  // (PACKET_OUT_OF_ORDER: wait).",
            "PACKET_OUT_OF_ORDER as ABORTED, the catalogue says FAILED_PRECONDITION",
        ),
        (
            "Errors: NOT_FOUND (HEIGHT_UNKNOWN; SENDER_UNKNOWN: nobody).",
            "SENDER_UNKNOWN as NOT_FOUND, the catalogue says UNAUTHENTICATED",
        ),
        ("Errors: NOT_FOUND (HEIGHT_UNHEARD_OF).", "HEIGHT_UNHEARD_OF is not in the catalogue"),
        ("Errors: UNAVAILABLE (retry).", "UNAVAILABLE without a code"),
        ("Errors: PERMISSION_DENIED as everywhere.", "PERMISSION_DENIED without a code"),
        ("Errors: HEIGHT_UNKNOWN.", "HEIGHT_UNKNOWN without a status"),
    ],
)
def test_a_wrong_line_is_found(comment: str, problem: str) -> None:
    right = "  // Errors: NOT_FOUND (HEIGHT_UNKNOWN: not yet), INTERNAL (INTERNAL).\n  rpc A"
    assert list(wrong_statuses(right)) == []
    assert list(wrong_statuses(f"{right}\n\n  // {comment}\n  rpc B")) == [problem]


def test_every_service_names_what_the_guard_answers() -> None:
    guards = [source for source in sources("services") if source.path in GUARDS]
    assert len(guards) == len(GUARDS)
    answers = guard_answers(guards)
    found = {
        path.name: unnamed_answers(path.read_text(encoding="utf-8"), answers)
        for path in contracts()
    }
    assert not any(found.values()), found


def test_an_answer_of_the_guard_that_is_not_named_is_found() -> None:
    text = (
        "// Serves KEY_UNKNOWN.\n// Errors on every method: UNAUTHENTICATED (KEY_REVOKED).\n"
        "service A {}\n"
    )
    assert unnamed_answers(text, ["KEY_REVOKED", "KEY_UNKNOWN"]) == ["KEY_UNKNOWN"]
