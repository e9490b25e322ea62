"""What a TRUST file says of chains of another kind: signed, renewed, and at an end one day."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.proof.fisco.trusted import ForkError
from guqiao_sdk.proof.framing import NotABundleError
from guqiao_sdk.proof.observed_bundle import ObservedBundle
from guqiao_sdk.proof.observed_trust import VALID_DAYS_MAX, ObservedTrust
from guqiao_sdk.proof.trust import Trust, parse_trust
from guqiao_sdk.verify_observed import ObservedVerdict, verify_observed
from tests.plugins.fisco_chain import FiscoChain, provider, unhexed
from tests.unit.proof.test_trust_file import KEYS, point, refusal, resigned, signed, trust_of

pytestmark = pytest.mark.req("T2-13", "T2-14")

UNTIL = "2026-12-31T23:59:59+08:00"
IN_TIME_MS = 1_780_000_000_000
"""In May 2026: after the issue of `trust_of`, before `UNTIL`."""


@pytest.fixture(scope="module")
def chain() -> FiscoChain:
    made = FiscoChain()
    for count in (2, 3, 1, 2):
        made.add_block(count)
    return made


def believing(*points: Any, until: str = UNTIL) -> Trust:
    return replace(trust_of(point(7)), observed=(ObservedTrust(until, points),))


def bundle_of(chain: FiscoChain, height: int, index: int = 0) -> ObservedBundle:
    name = chain.block(height)["transactions"][index]
    header = {k: v for k, v in chain.block(height).items() if k != "transactions"}
    sent, done = chain.transactions[name], chain.receipts[name]
    known = (chain.chain_id, chain.group_id, chain.genesis_hash)
    return ObservedBundle(*known, header, sent, done)


def judged(
    data: bytes, trust: Trust, *, now_ms: int = IN_TIME_MS, held: list[str] | None = None
) -> ObservedVerdict:
    checks = list[str]() if held is None else held
    return verify_observed(data, trust, provider().verify, now_ms=now_ms, on_check=checks.append)


def code_of(data: bytes, trust: Trust, *, now_ms: int = IN_TIME_MS) -> str:
    with pytest.raises(ProofError) as caught:
        judged(data, trust, now_ms=now_ms)
    return caught.value.code


def test_a_bundle_of_an_observed_chain_is_verified_from_the_issuers_checkpoint(
    chain: FiscoChain,
) -> None:
    trust = parse_trust(signed(believing(chain.trusted(1), chain.trusted(3))), KEYS.verify)
    assert trust == believing(chain.trusted(1), chain.trusted(3))
    held: list[str] = []
    verdict = judged(bundle_of(chain, 2, 1).encode(), trust, held=held)
    assert (verdict.height, verdict.execution.index, len(verdict.signers)) == (2, 1, 4)
    assert verdict.execution.transaction.hash() == unhexed(chain.block(2)["transactions"][1])
    assert (verdict.checkpoint.number, verdict.trust.valid_until) == (1, UNTIL)
    assert held[0] == "trust in chain0/group0"
    assert held[-1] == "framing"
    assert judged(bundle_of(chain, 4).encode(), trust).checkpoint.number == 3
    below = judged(bundle_of(chain, 1).encode(), believing(chain.trusted(3)))
    assert below.checkpoint.number == 3, "the first one judges what lies below it"


def test_a_trust_that_ended_is_refused_until_it_is_renewed(chain: FiscoChain) -> None:
    data, old = bundle_of(chain, 2).encode(), believing(chain.trusted(1))
    ends_ms = old.observed[0].ends_ms()
    assert judged(data, old, now_ms=ends_ms - 1).height == 2
    with pytest.raises(ProofError, match=r"until 2026-12-31") as caught:
        judged(data, old, now_ms=ends_ms)
    assert (caught.value.piece, caught.value.code) == ("trust in chain0/group0", "TRUST_EXPIRED")
    later = old.observed[0].renewed(chain.trusted(3), "2027-11-30T23:59:59+08:00")
    renewed = replace(old, issued_at="2026-12-20T09:00:00+08:00", observed=(later,))
    renewed = parse_trust(signed(renewed), KEYS.verify)
    assert [each.number for each in renewed.observed[0].checkpoints] == [1, 3]
    assert judged(data, renewed, now_ms=ends_ms).checkpoint.number == 1
    again = later.renewed(chain.trusted(3), "2028-01-01T00:00:00+08:00")
    assert again.checkpoints == later.checkpoints


def test_a_renewal_that_contradicts_what_is_trusted_is_refused(chain: FiscoChain) -> None:
    held = ObservedTrust(UNTIL, (chain.trusted(1), chain.trusted(3)))
    last = chain.trusted(3)
    wrong = {
        "CHAIN_MISMATCH": replace(last, genesis_hash=b"\x01" * 32),
        "TRUST_INVALID": chain.trusted(2),
        "CLIENT_FROZEN": replace(last, header_hash=b"\x01" * 32),
    }
    for code, checkpoint in wrong.items():
        with pytest.raises(ProofError) as caught:
            held.renewed(checkpoint, UNTIL)
        assert caught.value.code == code


def test_a_chain_that_the_file_does_not_name_is_not_believed(chain: FiscoChain) -> None:
    data, trust = bundle_of(chain, 2).encode(), believing(chain.trusted(1))
    assert code_of(data, trust_of(point(7))) == "TRUST_INVALID"
    assert code_of(replace(bundle_of(chain, 2), group_id="group1").encode(), trust) == (
        "TRUST_INVALID"
    )
    other = replace(bundle_of(chain, 2), genesis_hash=b"\x01" * 32)
    assert code_of(other.encode(), trust) == "TRUST_INVALID"


def test_only_sealers_of_the_nearest_checkpoint_are_believed(chain: FiscoChain) -> None:
    """After a change of all sealers the old ones certify nothing above the renewed checkpoint."""
    fork = FiscoChain(names=("m0", "m1", "m2", "m3"), blocks=list(chain.blocks[:3]))
    fork.add_block()
    changed, unchanged = bundle_of(fork, 4).encode(), bundle_of(chain, 4).encode()
    assert code_of(changed, believing(chain.trusted(1))) == "OBSERVED_SET_UNPROVEN"
    of_old = chain.trusted(3)
    of_new = replace(of_old, sealers=fork.sealers)
    assert judged(changed, believing(chain.trusted(1), of_new)).height == 4
    assert code_of(unchanged, believing(chain.trusted(1), of_new)) == "OBSERVED_SET_UNPROVEN"
    with pytest.raises(ForkError):
        judged(unchanged, believing(replace(chain.trusted(4), header_hash=b"\x01" * 32)))


def test_a_bundle_with_anything_spoiled_is_refused(chain: FiscoChain) -> None:
    good, trust = bundle_of(chain, 2), believing(chain.trusted(1))
    other = bundle_of(chain, 2, 1)
    header: Any = good.header
    spoiled = {
        "transaction": replace(good, transaction=other.transaction),
        "receipt": replace(good, receipt=other.receipt),
        "both": replace(good, header=bundle_of(chain, 3).header),
        "root": replace(good, header={**header, "txsRoot": "0x" + "11" * 32}),
        "signatures": replace(good, header={**header, "signatureList": []}),
        "nothing": replace(good, receipt=None),
    }
    for name, bundle in spoiled.items():
        assert code_of(bundle.encode(), trust), name
    data = good.encode()
    for at in range(0, len(data), 37):
        changed = bytearray(data)
        changed[at] ^= 1
        with pytest.raises((ProofError, NotABundleError)):
            judged(bytes(changed), trust)
    with pytest.raises(NotABundleError):
        judged(b"GUQIAOB1" + data[8:-8] + b"1BOAIQUG", trust)


def test_one_content_is_one_file(chain: FiscoChain) -> None:
    data = bundle_of(chain, 2).encode()
    assert ObservedBundle.decode(data).encode() == data
    spaced = data.replace(b'{"chain_id":', b'{ "chain_id":', 1)
    with pytest.raises(ProofError):
        ObservedBundle.decode(spaced)


OBSERVED = "observed.0"


def spoil(path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    believed = believing(FiscoChain().trusted()).observed[0]
    members: Any = json.loads(signed(replace(trust_of(point(7)), observed=(believed,))))

    def change(target: dict[str, Any]) -> None:
        target["observed"] = members["observed"]
        here: Any = target
        *way, last = path.split(".")
        for name in way:
            here = here[int(name) if name.isdigit() else name]
        here[int(last) if last.isdigit() else last] = value

    return change


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("observed", []),
        ("observed", {}),
        (f"{OBSERVED}.valid_until", "2026-12-31"),
        (f"{OBSERVED}.valid_until", "2026-02-30T00:00:00+08:00"),
        (f"{OBSERVED}.valid_until", "2027-01-07T09:30:00+08:00"),
        (f"{OBSERVED}.valid_until", None),
        (f"{OBSERVED}.extra", 1),
        (f"{OBSERVED}.checkpoints", []),
        (f"{OBSERVED}.checkpoints.0", {}),
        (f"{OBSERVED}.checkpoints.0.genesis_hash", "00" * 32),
        (f"{OBSERVED}.checkpoints.0.sealers", []),
    ],
)
def test_a_signed_file_whose_observed_chain_breaks_the_form_is_refused(
    path: str, value: Any
) -> None:
    """The third end lies more than 366 days after the issue."""
    assert VALID_DAYS_MAX == 366
    parse_trust(resigned(spoil("issued_at", "2026-01-05T09:30:00+08:00")), KEYS.verify)
    refusal(resigned(spoil(path, value)))


def test_observed_chains_that_contradict_one_another_are_refused(chain: FiscoChain) -> None:
    one, two = chain.trusted(1), chain.trusted(2)
    other = replace(two, genesis_hash=b"\x01" * 32)
    for points in ((one, one), (two, one), (one, other)):
        with pytest.raises(ProofError, match="the one before it"):
            signed(believing(*points))
    twice = replace(believing(one), observed=believing(one).observed * 2)
    with pytest.raises(ProofError, match="twice"):
        signed(twice)
    both = believing(one).observed + believing(other).observed
    assert len(parse_trust(signed(replace(twice, observed=both)), KEYS.verify).observed) == 2
