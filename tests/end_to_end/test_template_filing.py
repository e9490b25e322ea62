"""`guqiao template` on a running network: the common set is published, an operator's own is filed.

Goal: what the CSRC and an operator do by hand, through real signatures, limits and proofs of state,
with the ways to do it wrong.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from guqiao_sdk.gm.provider import open_provider
from guqiao_sdk.proof.json_values import Json
from guqiaoctl.network.clients import open_chain, open_identity
from guqiaoctl.network.parties import CSRC, MARKET
from guqiaoctl.template_files import load_template
from tests.end_to_end.harness import OneMachine

FOLDER = Path(__file__).parents[2] / "data" / "templates"

pytestmark = [pytest.mark.end_to_end, pytest.mark.req("G2-08-6", "G2-08-7")]


def own_template(folder: Path) -> Path:
    """An operator's own variant of the transfer."""
    text = (FOLDER / "transfer.yaml").read_text(encoding="utf-8")
    path = folder / "own.yaml"
    path.write_text(
        text.replace("class: COMMON", "class: SELF").replace(
            "id: transfer\n", "id: own_transfer\n"
        ),
        encoding="utf-8",
    )
    (folder / "transfer.star").write_bytes((FOLDER / "transfer.star").read_bytes())
    for name in ("tests", "risks"):
        (folder / name).write_text(f"{name}: 无重大发现", encoding="utf-8")
    return path


def refuse_a_source_that_is_not_the_program(machine: OneMachine) -> None:
    """An operator whose own tools file another text: no command of ours does."""

    async def define() -> None:
        provider = open_provider()
        network = machine.network
        maker, checker = (
            open_identity(network, provider, MARKET, name) for name in ("maker", "checker")
        )
        value = load_template(FOLDER / "transfer.yaml").to_json()
        contract = value["contract"]
        assert isinstance(contract, dict)
        value |= {"id": "false_friend", "class": "SELF"}
        value["contract"] = {**contract, "source": "X = 1\n"}
        body: dict[str, Json] = {"template": value, "tests": "1a" * 32, "risk_review": "2b" * 32}
        named: dict[str, Json] = {"id": "false_friend", "version": 1}
        async with open_chain(network, provider, CSRC, maker) as client:
            for method, given in (("define", body), ("file", named)):
                transaction = await client.build("templates", method, given, checker=checker)
                assert (await client.submit(transaction)).accepted

    asyncio.run(define())
    for command in (
        ("accept", "false_friend", 1, "--number", "BA-2026-9"),
        ("status", "false_friend", 1),
    ):
        refused = machine.run("template", *command)
        assert (refused.code, refused.error) == (7, "TEMPLATE_SOURCE_OTHER")


def test_the_common_set_is_published_and_an_operators_own_template_is_filed(
    one_machine: OneMachine, tmp_path: Path
) -> None:
    for path in sorted(FOLDER.glob("*.yaml")):
        template = load_template(path)
        told = one_machine.must("template", "publish", path).out
        assert told == f"{template.id}@1  {template.digest.hex()}\n"
        record = one_machine.must("template", "status", template.id, 1, "-o", "json").json()
        assert (record["status"], record["digest"]) == ("PUBLISHED", template.digest.hex())
        assert record["template"] == template.to_json()
    again = one_machine.run("template", "publish", FOLDER / "subject.yaml")
    assert (again.code, again.error) == (5, "ILLEGAL_TRANSITION")

    own = own_template(tmp_path)
    evidence = ["--tests", tmp_path / "tests", "--risk-review", tmp_path / "risks"]
    wrong = one_machine.run("template", "publish", own)
    assert (wrong.code, wrong.error) == (2, "TEMPLATE_CLASS_WRONG")
    assert one_machine.run("template", "status", "own_transfer", 1).code == 3
    early = one_machine.run("template", "accept", "own_transfer", 1, "--number", "BA-2026-1")
    assert (early.code, early.error) == (3, "TEMPLATE_UNKNOWN")

    one_machine.must("template", "file", own, *evidence)
    refuse_a_source_that_is_not_the_program(one_machine)
    one_machine.must("template", "give-back", "own_transfer", 1, "--reason", "补充测试报告")
    one_machine.must("template", "file", own, *evidence)
    one_machine.must("template", "accept", "own_transfer", 1, "--number", "BA-2026-1")
    record = one_machine.must("template", "status", "own_transfer", 1, "-o", "json").json()
    assert (record["status"], record["filing_number"]) == ("FILING_ACCEPTED", "BA-2026-1")
    one_machine.must("template", "withdraw", "own_transfer", 1, "--reason", "不再使用")
    one_machine.must("template", "retire", "listing", 1, "--reason", "由新模板替代")
    shown = one_machine.must("template", "status", "listing", 1).out
    assert shown.startswith("status: RETIRED\n")
    assert "挂牌、展示和摘牌" in shown
