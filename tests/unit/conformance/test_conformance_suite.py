"""The conformance checks against honest nodes and, one lie at a time, against nodes that lie."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from guqiao.consensus.v1 import node_service_pb2 as message
from guqiao_sdk.client.failures import failure
from guqiao_sdk.conformance.findings import BETWEEN, OF_A_NODE, TITLES, Check, Finding, Result
from guqiao_sdk.conformance.node_checks import BLOCK_BYTES_MAX
from guqiao_sdk.conformance.port import Bounds, Endpoint, Subject, Unreachable
from guqiao_sdk.conformance.suite import Examination, examine
from guqiao_sdk.errors import GuqiaoError, UnavailableError
from guqiao_sdk.proof.header import FinalityCertificate
from guqiao_sdk.rules import messages
from tests.unit.conformance.honest_node import (
    KEYS,
    Change,
    HonestNode,
    Liar,
    make_chain,
    subject_of,
)
from tests.unit.proof.proof_keys import Replicas
from tests.unit.xchain.ledger_chain import LedgerChain

URLS = ("tlcp://10.3.0.1:8443", "tlcp://10.3.0.2:8443")

pytestmark = pytest.mark.req("G2-06-4")


@pytest.fixture(scope="module")
def chain() -> LedgerChain:
    return make_chain()


async def examined(
    chain: LedgerChain,
    *rpcs: Any,
    subject: Subject | None = None,
    bounds: Bounds | None = None,
    urls: tuple[str, ...] = URLS,
) -> Examination:
    """Nodes 0, 1, … of the chain: two honest ones, but for those given."""
    nodes = [*rpcs, *(HonestNode(chain, number) for number in range(len(rpcs), 2))]
    endpoints = [
        Endpoint(url, number, "test", rpc)
        for number, (url, rpc) in enumerate(zip(urls, nodes, strict=False))
    ]
    return await examine(subject or subject_of(chain), endpoints, KEYS.verify, bounds or Bounds())


def not_passed(examination: Examination) -> dict[tuple[str, Check], Finding]:
    return {
        (each.node, each.check): each
        for each in examination.findings
        if each.result is not Result.PASSED
    }


@pytest.mark.parametrize("set_change", [False, True])
async def test_honest_nodes_pass_every_check(set_change: bool) -> None:
    chain = make_chain(set_change=set_change)
    found = await examined(chain)
    assert not_passed(found) == {}
    assert found.passed
    assert (found.common_height, dict(found.heights)) == (5, dict.fromkeys(URLS, 5))
    due = [(url, check) for url in URLS for check in OF_A_NODE]
    assert [(each.node, each.check) for each in found.findings] == [
        *due, *(("", check) for check in BETWEEN)
    ]  # fmt: skip


def test_every_check_has_a_title_in_both_languages() -> None:
    assert set(TITLES) == set(Check)
    for english, chinese in TITLES.values():
        assert english.isascii()
        assert any("一" <= each <= "鿿" for each in chinese)


# --- One lie at a time ----------------------------------------------------------------------------


def put(**fields: Any) -> Change:
    """Says something else in these fields of the answer."""

    def lie(told: Any, *_: object) -> Any:
        for name, value in fields.items():
            setattr(told, name, value)
        return told

    return lie


def rows(name: str, *values: Any) -> Change:
    """Says other rows in this list of the answer."""

    def lie(told: Any, *_: object) -> Any:
        told.ClearField(name)
        getattr(told, name).extend(values)
        return told

    return lie


def forge(told: Any, *_: object) -> Any:
    """A certificate that too few of the set signed."""
    certificate = FinalityCertificate.decode(told.certified_header.certificate)
    few = replace(certificate, signatures=certificate.signatures[:-1])
    told.certified_header.certificate = few.encode()
    return told


def forge_at(height: int) -> Change:
    return lambda told, asked: forge(told) if asked == height else told


def other_receipt(told: message.GetBlockResponse, *_: object) -> message.GetBlockResponse:
    told.block.receipts.append(b"\0")
    return told


def forged_first(told: message.GetBlockResponse, height: int) -> message.GetBlockResponse:
    if height == 1:
        told.block.batch = told.block.batch[:-1]
    return told


def moved_transaction(told: Any, *_: object) -> Any:
    told.transaction_proof.path[0] = bytes(32)
    return told


def other_result(told: Any, *_: object) -> Any:
    told.result.code = "SHARES_INSUFFICIENT"
    return told


def one_object_less(told: Any, *_: object) -> Any:
    del told.objects[-1]
    return told


def made_up_record(told: Any, *_: object) -> Any:
    told.record = b'{"made":"up"}'
    return told


def present_anyway(told: Any, key: bytes, *_: object) -> Any:
    if key == b"conformance/absent":
        told.present, told.value = True, b"1"
    return told


def absent_anyway(told: Any, key: bytes, *_: object) -> Any:
    if key == b"ledger/genesis":
        told.present, told.value = False, b""
    return told


def less_than_a_block(told: message.GetNetworkOptionsResponse) -> message.GetNetworkOptionsResponse:
    told.block_bytes_max = 100
    return told


LIES: list[tuple[str, Check, str, Mapping[str, Change]]] = [
    ("no network", Check.NETWORKS, "ANSWER_WRONG", {"list_networks": rows("chain_ids")}),
    ("another network", Check.NETWORKS, "ANSWER_WRONG",
     {"list_networks": rows("chain_ids", "beijing")}),
    ("a sub-network that is not registered", Check.NETWORKS, "ANSWER_WRONG",
     {"list_networks": rows("chain_ids", "shandong", "shandong:x")}),
    ("a network twice", Check.NETWORKS, "ANSWER_WRONG",
     {"list_networks": rows("chain_ids", "shandong", "shandong")}),
    ("no version", Check.OPTIONS, "ANSWER_WRONG",
     {"get_network_options": put(software_version="")}),
    ("no operations", Check.OPTIONS, "ANSWER_WRONG", {"get_network_options": rows("operations")}),
    ("an outcome missing", Check.OPTIONS, "ANSWER_WRONG",
     {"get_network_options": rows("outcomes", "APPLIED")}),
    ("foreign cryptography", Check.OPTIONS, "ANSWER_WRONG",
     {"get_network_options": put(crypto_suite="ECDSA")}),
    ("another genesis", Check.OPTIONS, "ANSWER_WRONG",
     {"get_network_options": put(genesis_hash=bytes(32))}),
    ("no largest block", Check.BLOCK_SIZE, "ANSWER_WRONG",
     {"get_network_options": put(block_bytes_max=0)}),
    ("blocks above 16 MB", Check.BLOCK_SIZE, "ANSWER_WRONG",
     {"get_network_options": put(block_bytes_max=BLOCK_BYTES_MAX + 1)}),
    ("a block above what is stated", Check.BLOCK_SIZE, "ANSWER_WRONG",
     {"get_network_options": less_than_a_block}),
    ("another chain's status", Check.STATUS, "ANSWER_WRONG",
     {"get_network_status": put(chain_id="beijing")}),
    ("height 0", Check.STATUS, "ANSWER_WRONG", {"get_network_status": put(height=0)}),
    ("a height beyond", Check.STATUS, "UNANSWERED", {"get_network_status": put(height=9_999)}),
    ("another header hash", Check.STATUS, "ANSWER_WRONG",
     {"get_network_status": put(header_hash=bytes(32))}),
    ("another state root", Check.STATUS, "ANSWER_WRONG",
     {"get_network_status": put(state_root=bytes(32))}),
    ("another time", Check.STATUS, "ANSWER_WRONG", {"get_network_status": put(block_time_ms=1)}),
    ("no peers", Check.STATUS, "ANSWER_WRONG", {"get_network_status": rows("peers")}),
    ("catching up", Check.STATUS, "ANSWER_WRONG", {"get_network_status": put(catching_up=True)}),
    ("damaged blocks", Check.STATUS, "ANSWER_WRONG", {"get_network_status": put(damaged_blocks=1)}),
    ("another replica", Check.STATUS, "ANSWER_WRONG", {"get_network_status": put(replica=3)}),
    ("a forged certificate", Check.STATUS, "PROOF_INVALID", {"get_consensus_state": forge}),
    ("a forged certificate below", Check.CONSENSUS_STATE, "PROOF_INVALID",
     {"get_consensus_state": forge_at(4)}),
    ("another set", Check.CONSENSUS_STATE, "ANSWER_WRONG",
     {"get_consensus_state": put(replica_set=Replicas(KEYS, "beijing").set.encode())}),
    ("receipts that the header does not name", Check.BLOCK, "PROOF_INVALID",
     {"get_block": other_receipt}),
    ("no first block", Check.HISTORY, "PROOF_INVALID", {"get_block": forged_first}),
    ("a wrong path", Check.TRANSACTION, "PROOF_INVALID", {"get_transaction": moved_transaction}),
    ("another result", Check.TRANSACTION, "PROOF_INVALID", {"get_transaction": other_result}),
    ("an object that is hidden", Check.OBJECTS, "ANSWER_WRONG", {"list_objects": one_object_less}),
    ("an object that is made up", Check.OBJECT, "ANSWER_WRONG", {"get_object": made_up_record}),
    ("a value that is hidden", Check.STATE_PROOF, "PROOF_INVALID",
     {"get_state_proof": absent_anyway}),
    ("a value that is made up", Check.ABSENCE, "PROOF_INVALID",
     {"get_state_proof": present_anyway}),
]  # fmt: skip


@pytest.mark.parametrize(("check", "code", "lies"), [each[1:] for each in LIES],
                         ids=[each[0] for each in LIES])  # fmt: skip
async def test_a_lie_fails_its_check_and_that_of_no_other_node(
    chain: LedgerChain, check: Check, code: str, lies: Mapping[str, Change]
) -> None:
    found = await examined(chain, Liar(HonestNode(chain, 0), **lies))
    assert not found.passed
    wrong = not_passed(found)
    finding = wrong[URLS[0], check]
    assert (finding.result, finding.code) == (Result.FAILED, f"CONFORMANCE_{code}")
    assert {url for url, _ in wrong} <= {URLS[0], ""}
    texts = messages(finding.code, **finding.facts)
    assert "未给出" not in texts.zh
    assert "not given" not in texts.en


def test_every_check_of_a_node_is_shown_to_fail() -> None:
    elsewhere = {Check.LINK, Check.REFUSALS}
    assert {check for _, check, _, _ in LIES} | elsewhere == set(OF_A_NODE)


# --- Nodes that are away, behind, elsewhere or the same -------------------------------------------


async def test_a_node_that_answers_nothing_fails_and_nothing_of_it_passes(
    chain: LedgerChain,
) -> None:
    def away(*_: object) -> Any:
        raise failure(UnavailableError, "CHAIN_UNAVAILABLE", chain="shandong")

    silent = Liar(HonestNode(chain, 0), get_network_status=away)
    wrong = not_passed(await examined(chain, silent))
    assert wrong[URLS[0], Check.LINK].code == "CONFORMANCE_UNANSWERED"
    rest = [wrong[URLS[0], check] for check in OF_A_NODE if check is not Check.LINK]
    assert {(each.result, each.code) for each in rest} == {
        (Result.NOT_CHECKED, "CONFORMANCE_DEPENDS")
    }
    assert wrong["", Check.TWO_NODES].result is Result.FAILED
    assert wrong["", Check.AGREEMENT].result is Result.NOT_CHECKED


@pytest.mark.parametrize(
    ("is_ours", "result"), [(True, Result.NOT_CHECKED), (False, Result.FAILED)]
)
async def test_a_way_that_is_not_supported_is_not_checked_and_never_passed(
    chain: LedgerChain, is_ours: bool, result: Result
) -> None:
    why = Unreachable("CONFORMANCE_TRANSPORT_UNSUPPORTED", {"scheme": "https"}, is_ours)
    found = await examined(chain, why)
    link = not_passed(found)[URLS[0], Check.LINK]
    assert (link.result, link.code) == (result, "CONFORMANCE_TRANSPORT_UNSUPPORTED")
    assert not found.passed
    assert list(found.heights) == [URLS[1]]


@pytest.mark.req("G2-10-2e")
async def test_a_node_that_lags_fails_the_comparison_and_holds_nobody_else_up() -> None:
    chain = make_chain(blocks_after=20)
    found = await examined(chain, HonestNode(chain, 0, top=4))
    wrong = not_passed(found)
    assert wrong["", Check.AGREEMENT].code == "CONFORMANCE_ANSWER_WRONG"
    assert {url for url, _ in wrong} <= {URLS[0], ""}
    assert found.common_height == 23
    near = await examined(chain, HonestNode(chain, 0, top=13))
    assert near.passed
    assert near.common_height == 13


async def test_nodes_of_two_histories_do_not_agree(chain: LedgerChain) -> None:
    """The same keys certified two chains: each node is in order, together they are not."""
    fork = make_chain()
    fork.execute(fork.transaction("reports", "report", {"count": 1, "broken": False}))
    chain = make_chain()
    chain.execute()
    found = await examined(chain, HonestNode(fork, 0), HonestNode(chain, 1))
    assert [each.check for each in found.findings if each.result is Result.FAILED] == [
        Check.AGREEMENT
    ]


async def test_one_node_listed_twice_is_one_node(chain: LedgerChain) -> None:
    once = HonestNode(chain, 0)
    wrong = not_passed(await examined(chain, once, once))
    assert wrong["", Check.TWO_NODES].code == "CONFORMANCE_ANSWER_WRONG"
    twice = await examined(chain, once, once, urls=(URLS[0], URLS[0]))
    assert ("", Check.TWO_NODES) in not_passed(twice)


@pytest.mark.req("G2-10-2e")
async def test_one_node_alone_is_too_few(chain: LedgerChain) -> None:
    wrong = not_passed(await examined(chain, urls=URLS[:1]))
    assert wrong["", Check.TWO_NODES].facts["expected"] == "≥ 2"


async def test_nodes_of_another_chain_fail_in_all_that_is_proven(chain: LedgerChain) -> None:
    """Other keys signed everything that they say."""
    members = Replicas(KEYS, "shandong", epoch=7).set.members
    trusted = replace(
        subject_of(chain).trust, replica_set=replace(Replicas(KEYS).set, members=members)
    )
    wrong = not_passed(await examined(chain, subject=replace(subject_of(chain), trust=trusted)))
    for url in URLS:
        assert wrong[url, Check.STATUS].code == "CONFORMANCE_PROOF_INVALID"
        assert wrong[url, Check.BLOCK].result is Result.NOT_CHECKED


REQUESTS = ["get_block", "get_consensus_state", "list_objects", "get_transaction", "get_object"]


@pytest.mark.parametrize("method", [*REQUESTS, "get_state_proof"])
async def test_an_answer_to_what_does_not_exist_fails(chain: LedgerChain, method: str) -> None:
    node = HonestNode(chain, 0)
    truth = getattr(node, method)
    refusing = type("MakesUp", (HonestNode,), {method: _makes_up(truth)})(chain, 0)
    finding = not_passed(await examined(chain, refusing))[URLS[0], Check.REFUSALS]
    assert (finding.result, finding.code) == (Result.FAILED, "CONFORMANCE_NOT_REFUSED")


def _makes_up(truth: Any) -> Any:
    async def answer(_: object, *arguments: object) -> Any:
        try:
            return await truth(*arguments)
        except GuqiaoError:  # This node has an answer to everything that is refused.
            return message.GetBlockResponse()

    return answer


async def test_a_refusal_with_another_code_fails(chain: LedgerChain) -> None:
    class Untyped(HonestNode):
        async def get_block(self, height: int) -> message.GetBlockResponse:
            if height > self.top:
                raise failure(UnavailableError, "CHAIN_UNAVAILABLE", chain="shandong")
            return await super().get_block(height)

    finding = not_passed(await examined(chain, Untyped(chain, 0)))[URLS[0], Check.REFUSALS]
    assert (finding.code, finding.facts["found"]) == (
        "CONFORMANCE_ANSWER_WRONG", "CHAIN_UNAVAILABLE"
    )  # fmt: skip


# --- Samples --------------------------------------------------------------------------------------


async def test_without_a_sample_its_checks_are_not_made_and_not_passed(chain: LedgerChain) -> None:
    found = await examined(chain, bounds=Bounds(scan_heights_max=2))
    wrong = not_passed(found)
    lacking = {Check.TRANSACTION, Check.OBJECTS, Check.OBJECT}
    assert set(wrong) == {(url, check) for url in URLS for check in lacking}
    assert {each.code for each in wrong.values()} == {"CONFORMANCE_NO_SAMPLE"}
    named = await examined(chain, bounds=Bounds(scan_heights_max=2, sample_height=3))
    assert named.passed


async def test_a_node_that_hides_where_objects_are_hides_them_from_nobody(
    chain: LedgerChain,
) -> None:
    liar = Liar(HonestNode(chain, 0), list_objects=rows("objects"))
    wrong = not_passed(await examined(chain, liar))
    assert [*wrong] == [(URLS[0], Check.OBJECTS)]


async def test_what_a_liar_says_is_shown_in_one_bounded_printable_line(chain: LedgerChain) -> None:
    lie = rows("chain_ids", "x\x1b[2J\n" * 1_000)
    found = await examined(chain, Liar(HonestNode(chain, 0), list_networks=lie))
    fact = not_passed(found)[URLS[0], Check.NETWORKS].facts["found"]
    assert len(fact) <= 200
    assert fact.isprintable()
