"""A header is believed only with the quorum of the sealers that are held, and never in part."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.proof.fisco.header import MINOR_VERSION_MAX, parse_header
from guqiao_sdk.proof.fisco.sealers import Sealer, SealerSet
from guqiao_sdk.proof.fisco.trusted import ForkError, TrustedFisco, advance
from tests.plugins.fisco_chain import (
    VERSION,
    FiscoChain,
    Row,
    header_hash,
    hexed,
    key,
    node_id,
    provider,
    sign_header,
    unhexed,
)

pytestmark = pytest.mark.req("T2-13", "G2-09-2")

QUORUM = (0, 1, 2)


def judged(trusted: TrustedFisco, row: Row) -> TrustedFisco:
    return advance(trusted, parse_header(row), provider().verify)


def refused(trusted: TrustedFisco, row: Row) -> str:
    """The code of the refusal."""
    with pytest.raises(ProofError) as caught:
        judged(trusted, row)
    return caught.value.code


@pytest.fixture
def chain() -> FiscoChain:
    return FiscoChain()


def test_headers_of_a_quorum_are_followed_in_order_and_with_gaps(chain: FiscoChain) -> None:
    trusted = chain.trusted()
    for _ in range(5):
        chain.add_block(signers=QUORUM)
    for height in (1, 2, 5, 5):
        trusted = judged(trusted, chain.block(height))
        assert (trusted.number, trusted.header_hash.hex()) == (
            height,
            chain.block(height)["hash"][2:],
        )


def _flipped(value: Any) -> Any:
    """The value with one thing changed."""
    match value:
        case int():
            return value + 1
        case str() if value.startswith("0x") and len(value) > 2:
            return value[:-1] + ("0" if value[-1] != "0" else "1")
        case str():
            return value + "1"
        case [first, *rest]:
            return [_flipped(first), *rest]
        case dict():
            name = sorted(value)[0]
            return {**value, name: _flipped(value[name])}
    raise AssertionError(value)


SPOILED = (
    *("version", "parentInfo", "txsRoot", "receiptsRoot", "stateRoot", "number", "gasUsed"),
    *("timestamp", "sealer", "sealerList", "consensusWeights", "hash", "signatureList"),
)
STRANGE: tuple[Any, ...] = (None, True, -1, 1 << 64, {}, "x", [None], "0X00")


@pytest.mark.parametrize("name", [*SPOILED, "extraData"])
def test_a_header_with_any_field_changed_is_refused(chain: FiscoChain, name: str) -> None:
    row = chain.add_block()
    judged(chain.trusted(), row)
    changed = "0x00" if name == "extraData" else _flipped(row[name])
    assert refused(chain.trusted(), {**row, name: changed})


@pytest.mark.parametrize("name", [*SPOILED, "extraData"])
def test_a_header_with_a_member_missing_or_of_another_type_is_refused(
    chain: FiscoChain, name: str
) -> None:
    row = chain.add_block()
    without = {each: value for each, value in row.items() if each != name}
    assert refused(chain.trusted(), without) == "OBSERVED_ANSWER_MALFORMED"
    for strange in STRANGE:
        assert refused(chain.trusted(), {**row, name: strange})


def test_a_parent_of_another_height_is_refused(chain: FiscoChain) -> None:
    """Its number is no part of what is hashed here: it is the one before, or nothing."""
    row = chain.add_block()
    (parent,) = row["parentInfo"]
    for number in (1, 7):
        moved = {**row, "parentInfo": [{**parent, "blockNumber": number}]}
        assert refused(chain.trusted(), moved) == "HEADER_UNVERIFIED"


@pytest.mark.parametrize("name", ["txsRoot", "timestamp", "gasUsed", "sealerList", "number"])
def test_a_changed_header_is_refused_though_its_hash_is_made_to_fit(
    chain: FiscoChain, name: str
) -> None:
    """Then the signatures do not hold, or the chain breaks."""
    row = chain.add_block()
    changed = {**row, name: _flipped(row[name])}
    assert refused(chain.trusted(), {**changed, "hash": hexed(header_hash(changed))})


def test_fewer_than_a_quorum_are_refused(chain: FiscoChain) -> None:
    few = chain.add_block(signers=(0, 3))
    assert refused(chain.trusted(), few) == "HEADER_UNVERIFIED"
    assert refused(chain.trusted(), {**few, "signatureList": []}) == "HEADER_UNVERIFIED"


def test_a_sealer_counts_once(chain: FiscoChain) -> None:
    row = sign_header(chain.add_block(), [(0, "n0"), (1, "n1"), (1, "n1")])
    assert refused(chain.trusted(), row) == "HEADER_UNVERIFIED"


@pytest.mark.parametrize("signer", [(2, "stranger"), (4, "stranger"), (99, "n2"), (3, "n2")])
def test_a_foreign_or_misplaced_signature_is_refused(
    chain: FiscoChain, signer: tuple[int, str]
) -> None:
    """Also where the others alone are a quorum: whoever sends such a header is not believed."""
    for good in ([(0, "n0"), (1, "n1")], [(0, "n0"), (1, "n1"), (2, "n2")]):
        row = sign_header(chain.add_block(), [*good, signer])
        assert refused(chain.trusted(len(chain.blocks) - 1), row) == "HEADER_UNVERIFIED"


def test_weights_decide_and_not_heads() -> None:
    chain = FiscoChain(weights=(3, 1, 1, 1))
    light, heavy = chain.trusted(), chain.add_block(signers=(0, 1))
    assert chain.sealers.quorum == 5
    assert refused(light, heavy) == "HEADER_UNVERIFIED"
    judged(light, sign_header(heavy, [(0, "n0"), (1, "n1"), (2, "n2")]))
    three = sign_header(heavy, [(1, "n1"), (2, "n2"), (3, "n3")])
    assert refused(light, three) == "HEADER_UNVERIFIED"


@pytest.mark.parametrize(
    ("weights", "quorum"),
    [((1, 1, 1, 1), 3), ((1,) * 7, 5), ((1,) * 6, 5), ((2, 2, 1, 1), 5), ((4, 3, 3, 3), 9)],
)
def test_the_quorum_is_that_of_the_chain(weights: tuple[int, ...], quorum: int) -> None:
    names = [f"n{index}" for index in range(len(weights))]
    sealers = SealerSet(
        tuple(Sealer(node_id(name), heavy) for name, heavy in zip(names, weights, strict=True))
    )
    sealers.check("set")
    assert sealers.quorum == quorum


@pytest.mark.parametrize(
    ("names", "weights", "code"),
    [
        (("n0", "n1", "n2"), (1, 1, 1), "REPLICAS_TOO_FEW"),
        (("n0", "n1", "n2", "n2"), (1, 1, 1, 1), "HEADER_UNVERIFIED"),
        (("n0", "n1", "n2", "n3"), (9, 1, 1, 1), "CONSENSUS_NOT_BFT"),
        (("n0", "n1", "n2", "n3"), (0, 1, 1, 1), "HEADER_UNVERIFIED"),
    ],
)
def test_sets_on_which_no_finality_can_rest_are_refused(
    names: tuple[str, ...], weights: tuple[int, ...], code: str
) -> None:
    chain = FiscoChain(names=names, weights=weights)
    assert refused(chain.trusted(), chain.add_block()) == code


def test_a_sealer_with_a_key_of_another_curve_is_refused(chain: FiscoChain) -> None:
    row = chain.add_block()
    listed = [*row["sealerList"][:3], hexed(b"\x11" * 64)]
    foreign = sign_header({**row, "sealerList": listed}, [(0, "n0"), (1, "n1"), (2, "n2")])
    assert refused(chain.trusted(), foreign) == "ALG_NOT_GM"


@pytest.mark.parametrize(
    "version", [0, 4, 0x02080000, 0x03000001, (3 << 24) + (MINOR_VERSION_MAX + 1 << 16), 0x04000000]
)
def test_an_unknown_version_is_refused_by_name(chain: FiscoChain, version: int) -> None:
    row = chain.add_block(version=version)
    assert refused(chain.trusted(), row) == "OBSERVED_VERSION_UNKNOWN"


@pytest.mark.parametrize("version", [0x03000000, VERSION, 0x03020700, 0x03110100])
def test_known_versions_are_followed(chain: FiscoChain, version: int) -> None:
    judged(chain.trusted(), chain.add_block(version=version))


def _joined(row: Row) -> bytes:
    """The bytes from the sealers on, as they are hashed."""
    weights = b"".join(each.to_bytes(8, "big") for each in row["consensusWeights"])
    return b"".join(map(unhexed, row["sealerList"])) + unhexed(row["extraData"]) + weights


def test_sealers_cannot_be_hidden_under_the_same_hash() -> None:
    """Five sealers, shown as four and some extra data: the same bytes, the same hash, the same
    signatures. The chain's hash has no lengths.
    """
    chain = FiscoChain(names=("n0", "n1", "n2", "n3", "n4"), weights=(1,) * 5)
    row = chain.add_block()
    hidden = copy.deepcopy(row)
    hidden["sealerList"] = row["sealerList"][:4]
    hidden["consensusWeights"] = row["consensusWeights"][1:]
    hidden["extraData"] = hexed(node_id("n4") + (1).to_bytes(8, "big"))
    hidden["signatureList"] = row["signatureList"][:4]
    assert _joined(hidden) == _joined(row)
    assert header_hash(hidden) == header_hash(row)
    of_four = FiscoChain(names=chain.names[:4]).trusted()
    assert refused(of_four, hidden) == "HEADER_UNVERIFIED"


def test_digits_of_gas_cannot_become_part_of_the_time(chain: FiscoChain) -> None:
    row = chain.add_block()
    moved = {**row, "gasUsed": row["gasUsed"][:-1]}
    last = ord(row["gasUsed"][-1])
    moved["timestamp"] = (last << 56) + (row["timestamp"] >> 8)
    assert refused(chain.trusted(), moved) == "OBSERVED_ANSWER_MALFORMED"


# --- Other chains, forks, other sealers ---------------------------------------------------------


def test_a_header_of_another_chain_is_refused(chain: FiscoChain) -> None:
    other = FiscoChain(names=("m0", "m1", "m2", "m3"), chain_id="chain1")
    assert refused(chain.trusted(), other.add_block()) == "OBSERVED_SET_UNPROVEN"


def test_a_lower_height_is_not_followed(chain: FiscoChain) -> None:
    rows = [chain.add_block() for _ in range(3)]
    assert refused(chain.trusted(3), rows[1]) == "HEADER_UNVERIFIED"


@pytest.mark.parametrize("at", [1, 0])
def test_two_certified_headers_freeze_what_follows(chain: FiscoChain, at: int) -> None:
    """Of one height, or with another parent than the header that is believed."""
    row = chain.add_block()
    parent = {"blockNumber": 0, "blockHash": hexed(b"\x07" * 32)}
    other = sign_header({**row, "parentInfo": [parent]}, [(i, f"n{i}") for i in range(4)])
    with pytest.raises(ForkError) as caught:
        judged(chain.trusted(at), other)
    assert caught.value.code == "CLIENT_FROZEN"
    assert caught.value.known == chain.trusted(at).header_hash
    assert caught.value.other == parse_header(other)


def changed(chain: FiscoChain, names: tuple[str, ...]) -> tuple[TrustedFisco, FiscoChain]:
    """What is believed before the change, and the chain with other sealers."""
    chain.add_block()
    trusted = chain.trusted(1)
    chain.names, chain.weights = names, (1,) * len(names)
    return trusted, chain


@pytest.mark.parametrize(
    "names",
    [
        ("n0", "n1", "n2", "n3", "n4"),
        ("n0", "n1", "n2", "n4"),
        ("n3", "n0", "n2", "n1"),
    ],
)
def test_other_sealers_are_believed_where_the_old_quorum_signed(
    chain: FiscoChain, names: tuple[str, ...]
) -> None:
    trusted, after = changed(chain, names)
    row = after.add_block()
    trusted = judged(trusted, row)
    assert trusted.sealers == after.sealers
    assert judged(trusted, after.add_block()).number == 3


@pytest.mark.parametrize(
    ("names", "signers"),
    [
        (("n0", "n1", "m0", "m1"), (0, 1, 2, 3)),  # Two of four are new.
        (("m0", "m1", "m2", "m3"), (0, 1, 2, 3)),  # All of them.
        (("n0", "n1", "n2", "n3", "n4"), (2, 3, 4, 4)),  # One signed twice.
        (("n0", "n1", "n2", "n3", "m0", "m1", "m2"), (0, 1, 4, 5, 6)),  # A quorum of the new.
        (("n0", "n1", "n2", "n3", "m0", "m1", "m2"), (0, 1, 2, 3)),  # Only one of the old.
    ],
)
def test_other_sealers_are_refused_without_the_old_quorum_or_the_new(
    chain: FiscoChain, names: tuple[str, ...], signers: tuple[int, ...]
) -> None:
    trusted, after = changed(chain, names)
    code = refused(trusted, after.add_block(signers=signers))
    assert code in ("OBSERVED_SET_UNPROVEN", "HEADER_UNVERIFIED")


def test_a_change_of_weights_is_a_change_of_sealers(chain: FiscoChain) -> None:
    trusted, after = changed(chain, chain.names)
    after.weights = (2, 2, 1, 1)
    row = after.add_block(signers=(0, 1, 3))
    assert judged(trusted, row).sealers == after.sealers
    few = sign_header(row, [(0, "n0"), (1, "n1")])
    assert refused(trusted, few) == "HEADER_UNVERIFIED"


def _parts(row: Row) -> list[tuple[Callable[[Row, Any], None], Any]]:
    def setter(name: str) -> Callable[[Row, Any], None]:
        return lambda target, value: target.__setitem__(name, value)

    return [(setter(name), row[name]) for name in (*SPOILED, "extraData")]


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_nothing_but_the_header_itself_is_ever_believed(data: st.DataObject) -> None:
    """Any one member replaced by anything of JSON: refused, or it is the same header."""
    chain = FiscoChain()
    row = chain.add_block(signers=QUORUM)
    put, _ = data.draw(st.sampled_from(_parts(row)))
    texts = st.one_of(st.text(max_size=8), st.binary(max_size=70).map(lambda v: "0x" + v.hex()))
    leaves = st.one_of(st.none(), st.booleans(), st.integers(-2, 1 << 65), texts)
    value = data.draw(st.one_of(leaves, st.lists(leaves, max_size=5)))
    spoiled = copy.deepcopy(row)
    put(spoiled, value)
    try:
        believed = judged(chain.trusted(), spoiled)
    except ProofError:
        return
    assert believed.header_hash == unhexed(row["hash"])


def test_the_keys_of_the_tests_are_sm2_keys() -> None:
    assert provider().verify(key("n0").public_key, b"x", provider().sign(key("n0"), b"x"))
