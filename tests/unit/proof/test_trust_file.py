"""The TRUST file: signed by its issuer, strict in form, and never a source of empty trust."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from guqiao_sdk.client.trust_file import load_chain_trust
from guqiao_sdk.gm.provider import open_provider
from guqiao_sdk.proof.canonical import MalformedError
from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.proof.json_values import canonical_json
from guqiao_sdk.proof.quorum import ReplicaSetError
from guqiao_sdk.proof.restart import RestartAuthorities
from guqiao_sdk.proof.trust import (
    ChainTrust,
    Checkpoint,
    NotATrustFileError,
    Trust,
    encode_trust,
    parse_trust,
)
from tests.unit.proof.proof_keys import FakeKeys, Keys, Replicas, Sm2Keys

ISSUER = "did:rem:csrc:91100000MA0000000X"
KEYS = FakeKeys()


def point(height: int, epoch: int = 0, keys: Keys = KEYS) -> Checkpoint:
    header_hash = height.to_bytes(32, "big") if height else b"\x01" * 32
    return Checkpoint(epoch, height, header_hash, Replicas(keys, epoch=epoch).set)


def trust_of(*points: Checkpoint, keys: Keys = KEYS) -> Trust:
    chain = ChainTrust("shandong", b"g" * 32, points)
    return Trust(ISSUER, keys.public_key(ISSUER), "2026-01-05T09:30:00+08:00", (chain,))


def signed(trust: Trust, keys: Keys = KEYS) -> bytes:
    return encode_trust(trust, lambda message: keys.sign(ISSUER, message))


def resigned(change: Callable[[dict[str, Any]], None]) -> bytes:
    """A file whose content the issuer signed after `change`."""
    members = json.loads(signed(trust_of(point(7))))
    del members["signature"]
    change(members)
    message = b"\x00\x00\x00\x0eguqiao/trust/1"
    content = canonical_json(members)
    message += len(content).to_bytes(4, "big") + content
    members["signature"] = KEYS.sign(ISSUER, message).hex()
    return canonical_json(members)


def refusal(data: bytes, issuer_key: bytes | None = None) -> str:
    with pytest.raises(ProofError) as caught:
        parse_trust(data, KEYS.verify, issuer_key)
    assert caught.value.piece == "trust file"
    assert caught.value.code == "TRUST_INVALID"
    return caught.value.detail


def test_a_trust_file_is_read_back_as_its_issuer_signed_it() -> None:
    keys = Sm2Keys(open_provider())
    trust = trust_of(point(7, keys=keys), point(9, 1, keys=keys), keys=keys)
    data = signed(trust, keys)
    assert parse_trust(data, keys.verify) == trust
    assert parse_trust(data, keys.verify, keys.public_key(ISSUER)) == trust


@pytest.mark.parametrize(
    "data",
    [b"", b"dear auditor\n", b"\xff\xfe", b"{}", b"[]", b'{"format":"guqiao-trust/0"}', b"{" * 99],
)
def test_another_kind_of_file_is_told_from_a_trust_file_that_is_broken(data: bytes) -> None:
    with pytest.raises(NotATrustFileError) as caught:
        parse_trust(data, KEYS.verify)
    assert (caught.value.piece, caught.value.code) == ("trust file", "TRUST_INVALID")
    whole = signed(trust_of(point(7)))
    for broken in (whole[:-1], whole + b"x", whole.replace(b'"issuer"', b'"author"', 1)):
        with pytest.raises(ProofError) as told:
            parse_trust(broken, KEYS.verify)
        assert not isinstance(told.value, NotATrustFileError)


def test_every_changed_character_of_the_file_is_refused() -> None:
    """White space between members may change: it is no part of what is said."""
    data = signed(trust_of(point(7)))
    trust = parse_trust(data, KEYS.verify)
    for at in range(len(data)):
        changed = bytearray(data)
        changed[at] ^= 1
        with pytest.raises(ProofError):
            parse_trust(bytes(changed), KEYS.verify)
    spaced = json.dumps(json.loads(data), indent=1).encode()
    assert parse_trust(spaced, KEYS.verify) == trust


def test_a_file_signed_by_another_than_the_expected_issuer_is_refused() -> None:
    data = signed(trust_of(point(7)))
    assert "another key" in refusal(data, KEYS.public_key("someone else"))
    other = Trust(ISSUER, KEYS.public_key("mallory"), "2026-01-05T09:30:00+08:00", ())
    swapped = json.loads(data)
    swapped["issuer"]["public_key"] = other.issuer_key.hex()
    assert "signature does not hold" in refusal(canonical_json(swapped))


def set_member(path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(members: dict[str, Any]) -> None:
        here: Any = members
        *way, last = path.split(".")
        for name in way:
            here = here[int(name) if name.isdigit() else name]
        here[int(last) if last.isdigit() else last] = value

    return change


POINT = "chains.0.checkpoints.0"


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("format", "guqiao-trust/2"),
        ("extra", 1),
        ("issued_at", "yesterday"),
        ("issued_at", None),
        ("issuer.did", "nobody"),
        ("issuer.extra", 1),
        ("chains", []),
        ("chains.0.chain_id", ""),
        ("chains.0.genesis_hash", "00" * 32),
        ("chains.0.genesis_hash", "ab"),
        ("chains.0.checkpoints", []),
        ("chains.0.extra", 1),
        (f"{POINT}.epoch", -1),
        (f"{POINT}.epoch", True),
        (f"{POINT}.height", 1 << 53),
        (f"{POINT}.header_hash", "00" * 32),
        (f"{POINT}.header_hash", "AB" * 32),
        (f"{POINT}.replicas", []),
        (f"{POINT}.replicas.0.replica", 1),
        (f"{POINT}.replicas.0.public_key", "00" * 65),
        (f"{POINT}.replicas.0.entity_id", ""),
        (f"{POINT}.replicas.0.entity_name", "x" * 513),
        (f"{POINT}.replicas.0", {}),
    ],
)
def test_a_signed_file_that_breaks_the_form_is_refused_all_the_same(path: str, value: Any) -> None:
    parse_trust(resigned(lambda members: None), KEYS.verify)
    refusal(resigned(set_member(path, value)))


@pytest.mark.req("G2-07-2")
def test_g11_a_checkpoint_whose_set_breaks_the_rules_is_refused() -> None:
    small = replace(point(7), replica_set=Replicas(KEYS, size=3).set)
    with pytest.raises(ProofError, match="REPLICAS_TOO_FEW"):
        signed(trust_of(small))


@pytest.mark.parametrize(
    "points",
    [
        (point(7), point(7)),
        (point(9), point(7)),
        (point(7, 1), point(9, 0)),
        (point(7), replace(point(9), replica_set=Replicas(KEYS, size=7).set)),
        (replace(point(7), epoch=1),),
    ],
    ids=["same height", "descending", "epoch falls", "set changes within an epoch", "other epoch"],
)
def test_checkpoints_that_contradict_one_another_are_refused(
    points: tuple[Checkpoint, ...],
) -> None:
    with pytest.raises(ProofError, match="checkpoint"):
        signed(trust_of(*points))


def test_a_chain_named_twice_is_refused() -> None:
    trust = trust_of(point(7))
    with pytest.raises(ProofError, match="twice"):
        signed(replace(trust, chains=trust.chains * 2))
    doubled = signed(trust).replace(b'"issued_at"', b'"issued_at":"","issued_at"', 1)
    assert "duplicate member" in refusal(doubled)


def test_the_checkpoint_nearest_below_is_chosen_else_the_first_of_the_epoch() -> None:
    chain = trust_of(point(7), point(9), point(20, 1)).chains[0]
    assert chain.checkpoint_of_epoch(0, 8).height == 7
    assert chain.checkpoint_of_epoch(0, 100).height == 9
    assert chain.checkpoint_of_epoch(0, 3).height == 7
    assert chain.checkpoint_of_epoch(1, 30).height == 20
    with pytest.raises(ProofError, match="it has epochs 0, 1"):
        chain.checkpoint_of_epoch(2, 30)


@pytest.mark.req("G2-19-3", "G2-13-2")
def test_a_chain_may_name_who_restarts_it() -> None:
    """pbft.md, Q1 and Q9."""
    named = RestartAuthorities(KEYS.public_key("csrc"), KEYS.public_key("province"))
    trust = trust_of(point(7))
    trust = replace(trust, chains=(replace(trust.chains[0], authorities=named),))
    read = parse_trust(signed(trust), KEYS.verify)
    assert read.chain("shandong").authorities == named
    plain = parse_trust(signed(trust_of(point(7))), KEYS.verify)
    assert plain.chain("shandong").authorities is None


@pytest.mark.parametrize("value", [None, {}, {"csrc": "04", "province": "05"}])
def test_authorities_that_are_none_are_refused(value: Any) -> None:
    def name(members: dict[str, Any]) -> None:
        members["chains"][0]["restart_authorities"] = value

    assert "restart_authorities" in refusal(resigned(name))


def test_what_a_client_starts_from_may_name_them_too(tmp_path: Path) -> None:
    named = RestartAuthorities(KEYS.public_key("csrc"), KEYS.public_key("province"))
    members: dict[str, Any] = {
        "chain_id": "shandong",
        "genesis_hash": "ab" * 32,
        "epoch": 0,
        "replicas": [
            {
                "entity_id": member.entity_id,
                "entity_name": member.entity_name,
                "vote_key": member.public_key.hex(),
            }
            for member in Replicas(KEYS).set.members
        ],
    }
    file = tmp_path / "trust.json"
    file.write_text(json.dumps(members))
    assert load_chain_trust(file).authorities is None
    file.write_text(json.dumps(members | {"restart_authorities": named.to_json()}))
    assert load_chain_trust(file).authorities == named
    file.write_text(json.dumps(members | {"restart_authorities": {}}))
    with pytest.raises(MalformedError, match="restart authorities"):
        load_chain_trust(file)
    file.write_text(json.dumps(members | {"lineage": "cd" * 32}))
    assert load_chain_trust(file).replica_set.lineage == b"\xcd" * 32
    file.write_text(json.dumps(members | {"lineage": "cd"}))
    with pytest.raises(ReplicaSetError, match="lineage"):
        load_chain_trust(file)


def test_a_checkpoint_behind_a_restart_has_the_lineage_of_its_set() -> None:
    """Without it the set would have another hash than the headers name."""
    later = point(9, 1)
    restarted = replace(later, replica_set=replace(later.replica_set, lineage=b"\xcd" * 32))
    trust = trust_of(point(7), restarted)
    assert parse_trust(signed(trust), KEYS.verify) == trust

    def spoil(members: dict[str, Any]) -> None:
        members["chains"][0]["checkpoints"][0]["lineage"] = "cd"

    assert "lineage" in refusal(resigned(spoil))
