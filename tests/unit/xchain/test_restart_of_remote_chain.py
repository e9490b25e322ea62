"""The light client in the chain's state follows a restart of the other chain."""

from __future__ import annotations

from dataclasses import replace

import pytest

from guqiao_sdk.proof.header import BlockHeader, FinalityCertificate, checkpoint_sign_bytes
from guqiao_sdk.proof.json_values import Json
from guqiao_sdk.proof.receipt import Receipt
from guqiao_sdk.proof.restart import Restart
from tests.unit.proof.proof_keys import FakeKeys, Replicas
from tests.unit.proof.restart_case import GENESIS_HASH, HEIGHT, RestartCase
from tests.unit.proof.test_restart_edges import restart_behind
from tests.unit.xchain.ledger_chain import LedgerChain, events

CASE = RestartCase()
RESTART = CASE.restart()
NEW_NAMES = ("shandong/0/0", "shandong/0/1", "shandong/1/2")


def chain_of(version: int) -> LedgerChain:
    """The regulatory chain, with this version of the light client."""
    chain = LedgerChain(
        "csrc",
        FakeKeys(),
        destination=None,
        remotes={},
        roles=frozenset({"chain_admin", "relayer"}),
    )
    contracts = tuple(
        replace(each, version=version if each.name == "light_client" else 1)
        for each in chain.genesis.contracts
    )
    chain.genesis = replace(chain.genesis, contracts=contracts)
    return chain


@pytest.fixture
def csrc() -> LedgerChain:
    chain = chain_of(2)
    assert register(chain).accepted
    return chain


def register(chain: LedgerChain, *, named: bool = True) -> Receipt:
    replicas: list[Json] = [
        {
            "entity_id": member.entity_id,
            "entity_name": member.entity_name,
            "vote_key": member.public_key.hex(),
        }
        for member in CASE.old.set.members
    ]
    body: dict[str, Json] = {
        "chain_id": "shandong",
        "genesis_hash": GENESIS_HASH.hex(),
        "epoch": 0,
        "replicas": replicas,
    }
    if named:
        body["restart_authorities"] = CASE.authorities.to_json()
    return chain.call("light_client", "register_chain", body)


def update(
    chain: LedgerChain,
    header: BlockHeader,
    certificate: FinalityCertificate,
    restart: Restart | None = None,
) -> Receipt:
    changes: list[Json] = [] if restart is None else [{"restart": restart.encode().hex()}]
    body: dict[str, Json] = {
        "chain": "shandong",
        "header": header.encode().hex(),
        "certificate": certificate.encode().hex(),
        "set_changes": changes,
    }
    return chain.call("light_client", "update", body)


def old_header(height: int) -> tuple[BlockHeader, FinalityCertificate]:
    header = CASE.header(height)
    return header, CASE.old.certify(header)


def new_header(height: int) -> tuple[BlockHeader, FinalityCertificate]:
    """Of the epoch that the restart began."""
    members = RESTART.statement.new_set
    header = replace(Replicas(CASE.keys, epoch=1).header(height), next_set_hash=members.hash())
    message = checkpoint_sign_bytes(header, members.lineage)
    signatures = tuple((at, CASE.keys.sign(name, message)) for at, name in enumerate(NEW_NAMES))
    return header, FinalityCertificate(header.hash(), signatures)


def epoch_of(chain: LedgerChain) -> Json:
    record = chain.value("light_client/client/shandong")
    return record["epoch"] if isinstance(record, dict) else None


@pytest.mark.req("G2-10-3", "G2-13-2")
@pytest.mark.parametrize("known", [0, 30, HEIGHT])
def test_an_approved_restart_carries_the_client_over_and_is_announced(
    csrc: LedgerChain, known: int
) -> None:
    """pbft.md, Q9."""
    if known:
        assert update(csrc, *old_header(known)).accepted
    moved = update(csrc, *new_header(50), RESTART)
    assert moved.accepted, moved.detail
    assert epoch_of(csrc) == 1
    assert not events(moved, "light_client.entity_above_faulty_max")
    announced = events(moved, "light_client.restarted")
    assert [each["statement"] for each in announced] == [RESTART.statement.digest().hex()]
    assert announced[0]["height"] == HEIGHT
    assert update(csrc, *new_header(60)).accepted
    again = update(csrc, *new_header(50), RESTART)
    assert again.accepted
    assert again.events == ()


@pytest.mark.req("G2-16-3")
def test_an_entity_with_more_than_f_keys_of_the_next_set_is_a_warning(csrc: LedgerChain) -> None:
    """Of a restart, and so of each set change."""
    members = list(RESTART.statement.new_set.members)
    members[3] = replace(members[3], entity_id=members[2].entity_id)
    following = replace(RESTART.statement.new_set, members=tuple(members))
    restart = restart_behind(CASE.header(), CASE.old.set, following)
    began = restart.statement.new_set
    header = replace(new_header(50)[0], next_set_hash=began.hash())
    message = checkpoint_sign_bytes(header, began.lineage)
    signatures = tuple((at, CASE.keys.sign(name, message)) for at, name in enumerate(NEW_NAMES))
    moved = update(csrc, header, FinalityCertificate(header.hash(), signatures), restart)
    assert moved.accepted, moved.detail
    [warned] = events(moved, "light_client.entity_above_faulty_max")
    assert warned == {"chain": "shandong", "epoch": 1, "entities": [members[2].entity_id]}


@pytest.mark.req("G2-16-4")
@pytest.mark.parametrize("left", range(4))
def test_no_approval_may_be_missing_and_nothing_moves(csrc: LedgerChain, left: int) -> None:
    """Not CSRC, nor the province, nor any entity that stays: nobody moves a chain alone."""
    some = tuple(each for at, each in enumerate(RESTART.approvals) if at != left)
    receipt = update(csrc, *new_header(50), replace(RESTART, approvals=some))
    assert receipt.code == "RESTART_APPROVAL_MISSING"
    assert epoch_of(csrc) is None


@pytest.mark.req("G2-16-4")
def test_old_keys_show_nothing_above_the_restart(csrc: LedgerChain) -> None:
    """Whoever has the keys of the lost can neither move the client nor freeze it."""
    assert update(csrc, *new_header(50), RESTART).accepted
    receipt = update(csrc, *old_header(HEIGHT + 1))
    assert receipt.code == "HEADER_UNVERIFIED"
    first, second = old_header(45), CASE.header(45, tag="other")
    rows: list[Json] = [
        {"header": header.encode().hex(), "certificate": CASE.old.certify(header).encode().hex()}
        for header in (first[0], second)
    ]
    body: dict[str, Json] = {"chain": "shandong", "first": rows[0], "second": rows[1]}
    frozen = csrc.call("light_client", "submit_misbehaviour", body)
    assert frozen.code == "HEADER_UNVERIFIED"
    assert b"ended below it" in frozen.detail
    assert update(csrc, *new_header(52)).accepted


@pytest.mark.req("G2-16-4")
def test_g20_a_client_that_took_a_higher_header_refuses_the_restart(csrc: LedgerChain) -> None:
    """Who may govern is proven from the state below the restart: it may have changed since."""
    assert update(csrc, *old_header(HEIGHT + 1)).accepted
    assert update(csrc, *new_header(50), RESTART).code == "RESTART_TOO_LOW"
    assert epoch_of(csrc) == 0


@pytest.mark.req("G2-10-1")
def test_a_chain_whose_registration_names_nobody_is_followed_no_further() -> None:
    chain = chain_of(2)
    assert register(chain, named=False).accepted
    assert update(chain, *new_header(50), RESTART).code == "RESTART_UNAVAILABLE"


def test_the_first_version_of_the_contract_knows_no_restart() -> None:
    chain = chain_of(1)
    assert register(chain).code == "BODY_MALFORMED"
    assert register(chain, named=False).accepted
    assert update(chain, *new_header(50), RESTART).code == "BODY_MALFORMED"
    assert update(chain, *old_header(7)).accepted


@pytest.mark.parametrize("value", ["", "00", "zz", 7])
def test_what_is_no_restart_is_malformed(csrc: LedgerChain, value: Json) -> None:
    body: dict[str, Json] = {
        "chain": "shandong",
        "header": old_header(7)[0].encode().hex(),
        "certificate": old_header(7)[1].encode().hex(),
        "set_changes": [{"restart": value}],
    }
    assert csrc.call("light_client", "update", body).code == "BODY_MALFORMED"


def test_a_registration_names_two_different_keys(csrc: LedgerChain) -> None:
    key = CASE.keys.public_key("csrc").hex()
    body: dict[str, Json] = {
        "chain_id": "beijing",
        "genesis_hash": GENESIS_HASH.hex(),
        "epoch": 0,
        "replicas": [],
        "restart_authorities": {"csrc": key, "province": key},
    }
    assert csrc.call("light_client", "register_chain", body).code == "BODY_MALFORMED"
