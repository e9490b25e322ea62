"""Every code that the source raises is in the rule catalogue, with the gRPC status that its class
says.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from guqiao_sdk import rules
from services.chassis import errors
from services.chassis.errors import ServiceError
from services.chassis.grpc_server.grpc_errors import GRPC_CODES
from tests.tidy.source import PACKAGES, Source, parse, sources

CODE = re.compile(r"[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)*")
CLASSES = {
    name: kind
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, ServiceError) and kind is not ServiceError
}


def name_of(function: ast.expr) -> str:
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def is_code(node: ast.expr | None) -> bool:
    return (
        isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and len(node.value) > 2
        and CODE.fullmatch(node.value) is not None
    )


def raised_codes(source: Source) -> Iterator[tuple[int, str, str]]:
    """(line, code, class) of `XError("CODE")`, `Refusal("CODE")`, `error_of_code("CODE")`,
    `code="CODE"`.
    """
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Call):
            name = name_of(node.func)
            raising = name.endswith("Error") or name in ("Refusal", "error_of_code", "__init__")
            candidates = [*(node.args[:1] if raising else [])]
            candidates += [word.value for word in node.keywords if word.arg == "code"]
            for value in candidates:
                if is_code(value):
                    assert isinstance(value, ast.Constant)
                    yield node.lineno, str(value.value), name
        elif isinstance(node, ast.AnnAssign | ast.Assign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            named = any(name_of(target) == "code" for target in targets)
            if named and is_code(node.value):
                assert isinstance(node.value, ast.Constant)
                yield node.lineno, str(node.value.value), ""


def test_the_ways_to_raise_a_code_are_seen() -> None:
    planted = parse(
        "x.py",
        'raise errors.NotFoundError("A_B", x=1)\nraise Refusal("C_D")\nf(code="E_F")\n'
        'class G:\n    code: str = "H_I"\nf("NOT_ONE")\nsuper().__init__("J_K")\n',
    )
    assert [code for _, code, _ in raised_codes(planted)] == ["A_B", "C_D", "E_F", "H_I", "J_K"]


def test_every_code_that_is_raised_is_in_the_catalogue() -> None:
    known = rules.catalogue()
    found = [
        (f"{source.path}:{line}", code)
        for source in sources(*PACKAGES)
        for line, code, _ in raised_codes(source)
    ]
    assert len(found) > 20
    assert [f"{where}: {code}" for where, code in found if code not in known] == []


def contradictions(source: Source) -> Iterator[str]:
    """Where a class of a reason, or a subclass made in the same file, carries a code of another
    status.
    """
    kinds = dict(CLASSES)
    owner: dict[int, str] = {}
    for node in ast.walk(source.tree):
        if isinstance(node, ast.ClassDef):
            for base in node.bases:
                if name_of(base) in kinds:
                    kinds[node.name] = kinds[name_of(base)]
                    owner |= dict.fromkeys(
                        range(node.lineno, (node.end_lineno or 0) + 1), node.name
                    )
    for line, code, name in raised_codes(source):
        kind = kinds.get(owner.get(line, "") if name == "__init__" else name)
        if kind is not None and code in rules.catalogue():
            said, expected = GRPC_CODES[kind.reason].name, rules.rule(code).grpc
            if said != expected:
                yield f"{source.path}:{line}: {code} as {said}, the catalogue says {expected}"


def test_the_class_that_is_raised_has_the_status_of_the_catalogue() -> None:
    planted = parse(
        "x.py",
        'raise InvalidError("KEY_REVOKED")\nclass A(NotFoundError):\n'
        '    def __init__(self):\n        super().__init__("KEY_UNKNOWN")\n',
    )
    assert len(list(contradictions(planted))) == 2
    found = [problem for source in sources("services") for problem in contradictions(source)]
    assert found == []
