"""The catalogue of level 3 controls names rules that are shown to fail, and tests that exist."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.deploy.deploy_tree import DEPLOY, ROOT
from tests.deploy.mutations import ALL_MUTATIONS

FIVE_NAMES = ["物理和环境", "网络和通信", "设备和计算", "应用和数据", "管理"]
# Rules whose failing is shown by tests of their own, beside the mutations.
SHOWN_ELSEWHERE = {"no-secrets", "kind-allowed", "release", "zone-table", "zone-forbidden"}
# They guard the form of the manifests and stand for no control of their own.
OF_FORM = {"schema", "unknown-kind", "loader", "references", "settings"}
RULES = {mutation[4] for mutation in ALL_MUTATIONS} | SHOWN_ELSEWHERE


def catalogue() -> Any:
    return yaml.safe_load((DEPLOY / "controls.yaml").read_text(encoding="utf-8"))


def controls(body: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, classes in body.items():
        for clause, points in classes.items():
            for point, shown in points.items():
                yield f"{name} {clause} {point}", shown


def problems(body: Any) -> Iterator[str]:
    for title, shown in controls(body):
        if not shown or not set(shown) <= {"rules", "tests", "record"}:
            yield f"{title}: shown by nothing"
        for rule in shown.get("rules", []):
            if rule not in RULES:
                yield f"{title}: no rule {rule}"
        for test in shown.get("tests", []):
            if not (ROOT / test).is_file():
                yield f"{title}: no test {test}"


@pytest.mark.req("G2-15-3", "N0-28")
def test_every_control_point_has_a_check_or_names_the_record_that_a_site_must_keep() -> None:
    body = catalogue()
    assert list(body) == FIVE_NAMES
    assert all(classes for classes in body.values())
    assert len(list(controls(body))) > 40
    assert list(problems(body)) == []


def test_a_control_without_a_real_check_is_named() -> None:
    body = {
        "管理": {
            "8": {"a": {}, "b": {"rules": ["gone"]}, "c": {"tests": ["tests/gone.py"]}},
        }
    }
    assert list(problems(body)) == [
        "管理 8 a: shown by nothing",
        "管理 8 b: no rule gone",
        "管理 8 c: no test tests/gone.py",
    ]


def test_every_rule_stands_for_some_control() -> None:
    named = {rule for _, shown in controls(catalogue()) for rule in shown.get("rules", [])}
    assert RULES - named - OF_FORM == set()
