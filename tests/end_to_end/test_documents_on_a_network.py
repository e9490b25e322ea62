"""`guqiao document` on a running network: each tier as people use it, with the ways to do it wrong.

Goal: what is sealed opens for its readers alone, what is off chain is found out when it is changed
and is gone when it is erased, every attempt is on chain, and proofs outlive an erasure.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from guqiao_sdk.gm.provider import open_provider
from guqiaoctl.commands.document_state import Reader, client_of, latest
from guqiaoctl.network.parties import MARKET, account
from services.consensus.domain.contracts.document_access import FIRST_BEFORE, record_digest
from tests.end_to_end.harness import Answer, OneMachine

pytestmark = pytest.mark.end_to_end

SECRET = "拟以每股 3.20 元向合格投资者发行"
PERSONAL = "证件号码 370199199001010017，联系电话 13800138000"
READING = ("--version", 1, "--purpose", "review", "--account")


def publish(machine: OneMachine, file: Path, name: str, area: str, title: str = "材料") -> Answer:
    return machine.run(
        *("document", "publish", file, "--id", name, "--area", area),
        *("--type", "announcement", "--title", title),
    )


def opened(machine: OneMachine, name: str, *options: Any) -> Answer:
    return machine.run("document", "open", name, *options)


def state(machine: OneMachine, *keys: str) -> list[Any]:
    """Records of the contract, as the chain proves them."""

    async def read() -> list[Any]:
        async with client_of(machine.network, open_provider()) as client:
            reader: Reader = await latest(client)
            return [await reader.value(key) for key in keys]

    return asyncio.run(read())


def whole_folder(machine: OneMachine) -> bytes:
    """Everything that replicas, services and stores keep on this disk, but logs of commands."""
    files = [path for path in machine.folder.rglob("*") if path.is_file()]
    return b"".join(path.read_bytes() for path in files if path.name != "postmaster.pid")


@pytest.fixture(scope="module")
def areas(one_machine: OneMachine) -> OneMachine:
    for area, tier in (("notices", "public"), ("offers", "restricted"), ("files", "nonpublic")):
        one_machine.must("document", "area", area, "--tier", tier, "--title", f"{area} 区域")
    return one_machine


@pytest.mark.req("G2-17-4", "G2-17-7")
def test_a_public_document_is_read_by_all_and_names_no_persons_numbers(
    areas: OneMachine, tmp_path: Path
) -> None:
    file = tmp_path / "notice.txt"
    file.write_text("关于召开股东会的公告", encoding="utf-8")
    assert publish(areas, file, "notice", "notices").out == "notice@1\n"
    assert opened(areas, "notice", *READING, "registry").out == "关于召开股东会的公告"
    record = areas.must("document", "show", "notice", "-o", "json").json()
    assert (record["tier"], record["content"]) == ("PUBLIC", "关于召开股东会的公告")
    file.write_text(PERSONAL, encoding="utf-8")
    refused = publish(areas, file, "notice", "notices")
    assert refused.error == "TIER_NONPUBLIC_ONCHAIN"
    assert "13800138000" not in refused.err
    assert publish(areas, file, "other", "nowhere").code == 3
    assert areas.run("document", "show", "other").code == 3


@pytest.mark.req("G2-17-5", "G2-17-6", "G2-19-1")
def test_a_sealed_document_opens_for_its_readers_alone(areas: OneMachine, tmp_path: Path) -> None:
    file = tmp_path / "offer.txt"
    file.write_text(SECRET, encoding="utf-8")
    nobody = publish(areas, file, "offer", "offers")
    assert (nobody.code, nobody.error) == (2, "REQUEST_MALFORMED")
    for reader in ("registry", "publisher"):
        areas.must("document", "grant", "offers", "--reader", reader, "--purpose", "review")
    condition = '{"kind": "role", "role": "supervisor"}'
    areas.must(
        *("document", "grant", "offers", "--reader", "reporting", "--purpose", "review"),
        *("--condition", condition),
    )
    assert publish(areas, file, "offer", "offers").code == 0
    record = areas.must("document", "show", "offer", "-o", "json").json()
    assert sorted(record["readers"]) == sorted(
        account(MARKET, name).did for name in ("registry", "publisher")
    )
    assert SECRET.encode() not in whole_folder(areas)
    for reader in ("registry", "publisher"):
        assert opened(areas, "offer", *READING, reader).out == SECRET
    for reader in ("reporting", "maker"):
        denied = opened(areas, "offer", *READING, reader)
        assert (denied.code, denied.error, denied.out) == (4, "READ_CONDITION_UNMET", "")

    areas.must("document", "revoke", "offers", "--reader", "publisher", "--reason", "离职")
    assert publish(areas, file, "offer", "offers").out == "offer@2\n"
    assert opened(areas, "offer", *READING, "publisher").out == SECRET
    second = ("--version", 2, "--purpose", "review", "--account")
    assert opened(areas, "offer", *second, "publisher").error == "READ_CONDITION_UNMET"
    assert opened(areas, "offer", *second, "registry").out == SECRET


def access_records(machine: OneMachine) -> list[dict[str, Any]]:
    """All of them, bound one to the other."""
    [head] = state(machine, "audit_head")
    records = state(machine, *(f"audit/{n:020d}" for n in range(1, head["count"] + 1)))
    before = FIRST_BEFORE
    for record in records:
        assert record["before"] == before
        before = record_digest(record)
    assert head["digest"] == before
    return records


@pytest.mark.req("G2-17-1", "G2-17-7", "G2-17-8", "G2-17-9", "G2-19-2")
def test_a_body_off_the_chain_is_read_on_record_found_when_changed_and_erased_for_good(
    areas: OneMachine, tmp_path: Path
) -> None:
    file, out = tmp_path / "person.txt", tmp_path / "out.txt"
    file.write_text(PERSONAL, encoding="utf-8")
    areas.must("document", "grant", "files", "--reader", "registry", "--purpose", "review")
    assert publish(areas, file, "person", "files").out == "person@1\n"
    record = areas.must("document", "show", "person", "-o", "json").json()
    assert (record["size"], record["tier"]) == (len(PERSONAL.encode()), "NONPUBLIC")
    kept = whole_folder(areas)
    assert b"370199199001010017" not in kept
    assert b"13800138000" not in kept
    renewed = areas.must("document", "renew-key", "-o", "json").json()
    assert renewed["wrapped"] >= 1
    assert renewed["damaged"] == []

    count = len(access_records(areas))
    assert opened(areas, "person", *READING, "registry", "--to", out).code == 0
    assert out.read_text(encoding="utf-8") == PERSONAL
    denied = opened(areas, "person", *READING, "maker")
    assert (denied.code, denied.error) == (4, "READ_CONDITION_UNMET")
    other = opened(areas, "person", "--version", 1, "--purpose", "sale", "--account", "registry")
    assert (other.code, other.error) == (4, "DOCUMENT_PURPOSE_OTHER")
    records = access_records(areas)[count:]
    assert [(each["actor"], each["result"], each["code"]) for each in records] == [
        (account(MARKET, "registry").did, "allow", ""),
        (account(MARKET, "maker").did, "deny", "READ_CONDITION_UNMET"),
        (account(MARKET, "registry").did, "deny", "DOCUMENT_PURPOSE_OTHER"),
    ]

    traced = areas.must("document", "trace", "person", "-o", "json").json()
    assert traced == records
    assert areas.must("document", "trace", "person").out.count("READ_CONDITION_UNMET") == 1

    body = next((areas.folder / "bodies").rglob(record["reference"]))
    copy = body.read_bytes()
    body.write_bytes(copy[:-1] + bytes([copy[-1] ^ 1]))
    changed = opened(areas, "person", *READING, "registry")
    assert (changed.code, changed.error, changed.out) == (7, "BODY_TAMPERED", "")
    body.write_bytes(copy)

    erasing = ("--version", 1, "--reason", "本人要求删除")
    assert areas.run("document", "erase", "notice", *erasing).error == "DOCUMENT_NOT_ERASABLE"
    areas.must("document", "erase", "person", *erasing)
    body.write_bytes(copy)
    gone = opened(areas, "person", *READING, "registry")
    assert (gone.code, gone.error, gone.out) == (5, "DOCUMENT_ERASED", "")
    again = areas.run("document", "erase", "person", *erasing)
    assert (again.code, again.error) == (5, "DOCUMENT_ERASED")
    assert not body.exists()

    after = areas.must("document", "show", "person", "-o", "json").json()
    assert {**after, "erased": None} == record
    bundle = tmp_path / "person.proof"
    areas.must("tx", "proof", record["transaction_id"], "--to", bundle)
    verified = areas.run("verify", bundle, "--trust", areas.network.layout.trust)
    assert verified.code == 0, verified.err


@pytest.mark.req("G2-17-6")
def test_a_downgrade_waits_for_two_entities_that_do_not_own_the_document(
    areas: OneMachine, tmp_path: Path
) -> None:
    file = tmp_path / "report.txt"
    file.write_text("检查报告", encoding="utf-8")
    assert publish(areas, file, "report", "files").code == 0
    moved = areas.must(
        "document", "reclassify", "report", "--area", "notices", "--reason", "检查已结束"
    )
    proposal = moved.out.strip()
    own = areas.run("document", "approve", "report", proposal, "--governor", 0)
    assert (own.code, own.error) == (4, "DOCUMENT_APPROVER_IS_OWNER")
    areas.must("document", "approve", "report", proposal, "--governor", 1)
    assert publish(areas, file, "report", "notices").error == "DOCUMENT_AREA_OTHER"
    areas.must("document", "approve", "report", proposal, "--governor", 2)
    assert publish(areas, file, "report", "notices").out == "report@2\n"
