"""The extract: what a state holds and what it does not, and that no byte of it can be changed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from guqiao_sdk.gm.provider import open_provider
from guqiao_sdk.proof.bundle import CertifiedHeader
from guqiao_sdk.proof.canonical import MalformedError
from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.proof.extract import CONTAINER, END_MAGIC, Extract, Fact
from guqiao_sdk.proof.framing import NotABundleError
from guqiao_sdk.proof.trust import Trust
from guqiao_sdk.verify_extract import ExtractVerdict, verify_extract
from guqiaoctl.commands import verifying
from guqiaoctl.failures import EXIT_UNVERIFIED, EXIT_USAGE, CliError
from tests.unit.proof.bundle_case import Case, make_case
from tests.unit.proof.proof_keys import Sm2Keys
from tests.unit.proof.test_proof_bundle import with_right_checksum

KEYS = Sm2Keys(open_provider())
HERE = b"identity/did/"
NOWHERE = b"register/holding/P1/nobody"


@pytest.fixture(scope="module")
def case() -> Case:
    return make_case(KEYS, set_changes=True)


@cache
def verify_once(public_key: bytes, message: bytes, signature: bytes) -> bool:
    """SM2, asked once for each triple: most flips leave most signatures as they were."""
    return KEYS.verify(public_key, message, signature)


def key_of(case: Case) -> bytes:
    return b"identity/did/" + case.shandong.did.encode()


def extract_of(case: Case, *keys: bytes) -> Extract:
    """Of the block that the bundle is about."""
    header = case.bundle.certified.header
    facts = []
    for key in sorted(keys):
        value = case.shandong.state.get(key)
        facts.append(Fact(key, value, case.shandong.prove_at(key, header.height)))
    return Extract(case.bundle.certified, tuple(facts))


@pytest.fixture(scope="module")
def extract(case: Case) -> Extract:
    return extract_of(case, key_of(case), NOWHERE)


def verify(data: bytes, trust: Trust, held: list[str] | None = None) -> ExtractVerdict:
    on_check = (held if held is not None else list[str]()).append
    return verify_extract(data, trust, verify_once, on_check=on_check)


def refusal(data: bytes, trust: Trust) -> str:
    with pytest.raises(ProofError) as caught:
        verify(data, trust)
    return str(caught.value)


@pytest.mark.req("G2-10-3", "N0-09", "N0-20")
def test_an_extract_proves_what_stands_and_what_does_not(case: Case, extract: Extract) -> None:
    held: list[str] = []
    verdict = verify(extract.encode(), case.trust, held)
    assert (verdict.block.chain_id, verdict.block.height) == ("shandong", 2)
    assert verdict.facts[NOWHERE] is None
    record = verdict.facts[key_of(case)]
    assert record is not None
    assert json.loads(record)["did"] == case.shandong.did
    assert held == [
        "finality certificate of shandong height 2",
        f"state of {key_of(case).decode()}",
        f"state of {NOWHERE.decode()}",
        "framing",
    ]


def test_an_extract_is_read_back_as_it_was_written(extract: Extract) -> None:
    assert Extract.decode(extract.encode()) == extract


@pytest.mark.req("G2-10-3")
def test_every_byte_changed_fails_or_says_what_is_true_as_well(
    case: Case, extract: Extract
) -> None:
    """With the checksum made to agree, too. One proof of absence is that of every key on its path:
    only the key of such a fact may be changed, to another one that is not there.
    """
    data, others = extract.encode(), 0
    for at in range(len(data)):
        changed = bytearray(data)
        changed[at] ^= 1 << (at % 8)
        refusal(bytes(changed), case.trust)
        if at >= len(data) - len(END_MAGIC) - 32:
            continue
        agreeing = with_right_checksum(bytes(changed))
        try:
            facts = verify(agreeing, case.trust).facts
        except ProofError:
            continue
        others += 1
        assert facts[key_of(case)] == extract.facts[0].value
        [absent] = facts.keys() - {key_of(case)}
        assert facts[absent] is None
        assert case.shandong.state.get(absent) is None
    assert others <= len(NOWHERE)


def test_neither_presence_nor_absence_can_be_claimed(case: Case, extract: Extract) -> None:
    here, nowhere = extract.facts
    other = json.dumps({"did": "did:rem:shandong:other"}).encode()
    for facts in (
        (replace(here, value=None), nowhere),
        (replace(here, value=other), nowhere),
        (here, replace(nowhere, value=b"{}")),
        (here, replace(nowhere, proof=here.proof)),
        (replace(here, proof=nowhere.proof), nowhere),
    ):
        assert "state of" in refusal(Extract(extract.certified, facts).encode(), case.trust)


def test_the_state_of_another_block_proves_nothing(case: Case, extract: Extract) -> None:
    header = replace(extract.certified.header, state_root=b"\1" * 32)
    forged = CertifiedHeader(header, extract.certified.certificate, extract.certified.set_changes)
    assert "certificate" in refusal(Extract(forged, extract.facts).encode(), case.trust)


def test_facts_ascend_and_come_once(case: Case, extract: Extract) -> None:
    for facts in (extract.facts[::-1], (extract.facts[0],) * 2, ()):
        assert "framing" in refusal(Extract(extract.certified, facts).encode(), case.trust)


def test_sections_of_another_order_or_name_are_no_extract(case: Case, extract: Extract) -> None:
    sections = CONTAINER.unpack(extract.encode())
    for changed in (sections[::-1], sections[1:], [*sections, ("note", b"")]):
        assert "framing" in refusal(CONTAINER.pack(changed), case.trust)
    with pytest.raises(MalformedError):
        Fact.decode(extract.facts[0].encode().replace(b"\1", b"\2", 1) + b"\0")


def test_another_kind_of_file_is_told_from_a_broken_extract(case: Case, extract: Extract) -> None:
    for data in (b"", b"{}", case.bundle.encode()):
        with pytest.raises(NotABundleError):
            verify(data, case.trust)
    assert "magic" in refusal(extract.encode()[:-1], case.trust)
    assert "magic" in refusal(b"x" + extract.encode(), case.trust)


# --- The command ----------------------------------------------------------------------------------


def run(
    data: bytes, case: Case, folder: Path, patch: pytest.MonkeyPatch, *, as_json: bool = True
) -> None:
    patch.setattr(verifying, "read_trust", lambda path, provider: case.trust)
    (folder / "file").write_bytes(data)
    verifying.verify(folder / "file", folder / "trust", as_json=as_json)


@pytest.mark.req("G2-10-3")
def test_the_command_names_each_check_with_its_result(
    case: Case,
    extract: Extract,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run(extract.encode(), case, tmp_path, monkeypatch)
    told = json.loads(capsys.readouterr().out)
    assert told["verified"]
    assert [each["check"] for each in told["checks"]][:2] == [
        "trust file",
        "finality certificate of shandong height 2",
    ]
    assert all(each["holds"] for each in told["checks"])
    present = {each["key"]: each["present"] for each in told["facts"]}
    assert present == {key_of(case).decode(): True, NOWHERE.decode(): False}

    run(case.bundle.encode(), case, tmp_path, monkeypatch)
    told = json.loads(capsys.readouterr().out)
    checks: Sequence[str] = [each["check"] for each in told["checks"]]
    assert checks[0] == "trust file"
    assert checks[-1] == "framing"
    assert "transaction in shandong height 2" in checks
    assert f"anchor of packet {case.bundle.packets[0].sequence}" in checks

    broken = Extract(extract.certified, (replace(extract.facts[0], value=b"{}"),)).encode()
    with pytest.raises(CliError) as refused:
        run(broken, case, tmp_path, monkeypatch)
    assert refused.value.exit_code == EXIT_UNVERIFIED
    told = json.loads(capsys.readouterr().out)
    assert not told["verified"]
    assert [each["holds"] for each in told["checks"]] == [True, True, False]
    assert told["checks"][-1]["check"] == f"state of {key_of(case).decode()}"


def test_the_table_says_what_is_held_and_what_is_not(
    case: Case,
    extract: Extract,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("GUQIAO_LANG", "en")
    run(extract.encode(), case, tmp_path, monkeypatch, as_json=False)
    shown = capsys.readouterr().out
    assert "holding of nobody in P1" in shown
    assert "nothing stands there" in shown


def test_what_is_neither_is_a_usage_error(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(CliError) as refused:
        run(b"{}", case, tmp_path, monkeypatch)
    assert (refused.value.code, refused.value.exit_code) == ("BUNDLE_MALFORMED", EXIT_USAGE)
