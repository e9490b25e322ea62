"""Protocol buffers of strangers: one reading for the bytes, whoever wrote them, or a refusal."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st

from guqiao.consensus.v1 import ledger_pb2, peer_pb2
from guqiao.consensus.v1 import node_service_pb2 as node
from guqiao.gateway.v1 import gateway_service_pb2
from services.chassis import strict_protobuf
from services.chassis.strict_protobuf import NotStrictError, check_strict, parse_strict

REQUEST = node.GetBlockRequest(height=300)
ENVELOPE = ledger_pb2.EnvelopePath(index=3, count=9, siblings=[b"s" * 32, b"t" * 32])
TRANSACTION = ledger_pb2.Transaction(
    payload=b"p" * 200,
    signatures=[ledger_pb2.TransactionSignature(public_key=b"k" * 65, signature=b"s" * 64)] * 2,
    envelope=ENVELOPE,
)
ONE = peer_pb2.PeerFrame(block_request=peer_pb2.BlockRequest(from_height=1, to_height=2))
OTHER = peer_pb2.PeerFrame(message=b"m", epoch=7)


def written(*messages: Message) -> bytes:
    """The fields of all of them, one after another."""
    return b"".join(message.SerializeToString(deterministic=True) for message in messages)


def field(number: int, content: bytes) -> bytes:
    return bytes([number << 3 | 2, len(content)]) + content


@pytest.mark.parametrize("message", [REQUEST, TRANSACTION, ONE, OTHER, node.GetBlockRequest()])
def test_what_the_library_writes_is_read(message: Message) -> None:
    assert parse_strict(type(message), written(message)) == message


@pytest.mark.req("G2-16-1")
@pytest.mark.parametrize(
    ("kind", "data", "why"),
    [
        (node.GetBlockRequest, written(REQUEST, REQUEST), "GetBlockRequest.height is given twice"),
        (peer_pb2.PeerFrame, written(OTHER, OTHER), "PeerFrame.content is given twice"),
        (peer_pb2.PeerFrame, written(OTHER, ONE), "PeerFrame.content is given twice"),
        (
            peer_pb2.PeerFrame,
            field(3, written(peer_pb2.BlockRequest(from_height=1)) * 2),
            "BlockRequest.from_height is given twice",
        ),
        (
            ledger_pb2.Transaction,
            written(TRANSACTION, ledger_pb2.Transaction(envelope=ENVELOPE)),
            "Transaction.envelope is given twice",
        ),
        (
            peer_pb2.PeerFrame,
            written(ONE) + b"\xfa\x3f\x05hello",
            "the unknown field 1023 in PeerFrame",
        ),
        (
            peer_pb2.PeerFrame,
            field(3, written(peer_pb2.BlockRequest(from_height=1)) + b"\x7a\x01x"),
            "the unknown field 15 in BlockRequest",
        ),
        (node.GetBlockRequest, written(REQUEST) + b"\x0a\x01x", "wire type 2 for"),
        (node.GetBlockRequest, b"\x0b\x0c", "wire type 3 for"),
        (node.GetBlockRequest, written(REQUEST) + b"\x00", "no GetBlockRequest"),
        (node.GetBlockRequest, written(REQUEST)[:-1], "no GetBlockRequest"),
    ],
)
def test_what_has_more_than_one_reading_is_refused(
    kind: type[Message], data: bytes, why: str
) -> None:
    with pytest.raises(NotStrictError, match=why):
        parse_strict(kind, data)


def test_a_client_in_another_language_may_write_fields_in_any_order_and_defaults_too() -> None:
    parts = [
        written(ledger_pb2.Transaction(envelope=ENVELOPE)),
        written(ledger_pb2.Transaction(signatures=TRANSACTION.signatures)),
        written(ledger_pb2.Transaction(payload=TRANSACTION.payload)),
    ]
    assert parse_strict(ledger_pb2.Transaction, b"".join(parts)) == TRANSACTION
    assert parse_strict(node.GetBlockRequest, b"\x08\x00") == node.GetBlockRequest()


def test_numbers_of_a_repeated_field_may_be_packed_or_not() -> None:
    kind = gateway_service_pb2.DESCRIPTOR.message_types_by_name
    packed, *_ = [
        (message, found)
        for message in kind.values()
        for found in message.fields
        if found.is_repeated and found.name == "sequences"
    ]
    name, number = packed[0].name, packed[1].number
    written_apart = bytes([number << 3, 5, number << 3, 6])
    message = parse_strict(getattr(gateway_service_pb2, name), written_apart)
    assert list(message.sequences) == [5, 6]


def test_an_unusual_message_of_very_many_fields_is_refused_before_they_are_walked() -> None:
    count = strict_protobuf.FIELDS_WALKED_MAX
    one = written(ledger_pb2.Transaction(signatures=[TRANSACTION.signatures[0]]))
    many = written(ledger_pb2.Transaction(payload=b"p")) + one * (count // 3)
    assert len(parse_strict(ledger_pb2.Transaction, many).signatures) == count // 3
    with pytest.raises(NotStrictError, match="more than 10000 fields"):
        parse_strict(ledger_pb2.Transaction, one + many)


def unread(message: Message) -> type[Message]:
    """The type of the message, which must be refused before the library builds one."""

    def build(data: bytes) -> None:
        raise AssertionError("it was built")

    kind: object = SimpleNamespace(DESCRIPTOR=message.DESCRIPTOR, FromString=build)
    return cast("type[Message]", kind)


def long_field(number: int, content: bytes) -> bytes:
    """A field whose length is written in four bytes."""
    size = [len(content) >> shift & 127 | 128 for shift in (0, 7, 14)]
    return bytes([number << 3 | 2, *size, len(content) >> 21]) + content


@pytest.mark.req("G2-16-1")
@pytest.mark.parametrize(
    ("message", "data"),
    [
        (peer_pb2.PeerFrame(), long_field(4, b"\x0a\x00" * 500_000)),
        (peer_pb2.PeerFrame(), long_field(4, field(1, b"\x1a\x00" * 60) * 500)),
        (peer_pb2.PeerFrame(), long_field(2, b"\x0a\x00" * 500_000)),
        (peer_pb2.PeerFrame(), b"\x38\x01" * 500_000),
        (node.SubmitTransactionsRequest(), b"\x0a\x00" * 500_000),
        (node.SubmitTransactionRequest(), long_field(1, b"\x12\x00" * 500_000)),
        (node.SubmitTransactionRequest(), long_field(1, long_field(3, b"\x1a\x00" * 2_000))),
        (ledger_pb2.Transaction(), field(2, b"\x0a\x02kk") * 100_000),
    ],
)
def test_fields_of_a_few_bytes_are_counted_before_anything_is_built(
    message: Message, data: bytes
) -> None:
    with pytest.raises(NotStrictError, match=r"fields in \d+ bytes of"):
        parse_strict(unread(message), data)


@pytest.mark.parametrize("cut", [1, 3_000, 9_000])
def test_a_long_message_that_breaks_off_or_holds_a_group_is_refused_before_it_is_built(
    cut: int,
) -> None:
    request = node.SubmitTransactionsRequest(transactions=[TRANSACTION] * 20)
    data = written(request)
    assert parse_strict(type(request), data) == request
    for spoilt in (data[: len(data) - cut], data + b"\x0b" * cut):
        with pytest.raises(NotStrictError):
            parse_strict(unread(request), spoilt)


def fields_in(message: Message) -> int:
    """Fields at all depths, each element of a list for itself."""
    count = 0
    for described, value in message.ListFields():
        values = value if described.is_repeated else [value]
        nested = [each for each in values if isinstance(each, Message)]
        count += len(values) + sum(map(fields_in, nested))
    return count


@given(
    st.lists(st.tuples(st.integers(0, 40), st.integers(0, 60), st.integers(0, 50)), max_size=9),
    st.integers(1, 400),
)
def test_fields_are_refused_by_their_number_and_the_bytes_they_come_in(
    shapes: list[tuple[int, int, int]], times: int
) -> None:
    transactions = [
        ledger_pb2.Transaction(
            payload=b"p" * payload,
            envelope=ledger_pb2.EnvelopePath(index=1, siblings=[b"s" * sibling] * count),
        )
        for payload, sibling, count in shapes
    ]
    request = node.SubmitTransactionsRequest(transactions=transactions * times)
    data, count = written(request), fields_in(request)
    try:
        assert parse_strict(type(request), data) == request
    except NotStrictError:
        assert count > strict_protobuf.FIELDS_BASE
    else:
        assert count <= strict_protobuf.FIELDS_BASE + len(data) / strict_protobuf.BYTES_A_FIELD
        assert count <= strict_protobuf.FIELDS_MAX


@given(st.data())
def test_no_order_of_fields_hides_a_second_value_or_an_unknown_one(data: st.DataObject) -> None:
    fields = [
        written(ledger_pb2.Transaction(payload=b"p" * 9)),
        written(ledger_pb2.Transaction(envelope=ENVELOPE)),
        *[written(ledger_pb2.Transaction(signatures=[each])) for each in TRANSACTION.signatures],
    ]
    shuffled = data.draw(st.permutations(fields))
    parse_strict(ledger_pb2.Transaction, b"".join(shuffled))
    spoilt = data.draw(st.sampled_from([fields[0], fields[1], b"\x22\x00", b"\xa0\x1f\x01"]))
    at = data.draw(st.integers(0, len(shuffled)))
    with pytest.raises(NotStrictError):
        parse_strict(ledger_pb2.Transaction, b"".join([*shuffled[:at], spoilt, *shuffled[at:]]))


@given(st.binary(max_size=60))
def test_any_bytes_that_are_read_have_one_reading(data: bytes) -> None:
    try:
        message = parse_strict(peer_pb2.PeerFrame, data)
    except NotStrictError:
        return
    again = message.SerializeToString(deterministic=True)
    assert parse_strict(peer_pb2.PeerFrame, again) == message
    assert len(again) <= len(data)


def test_a_refusal_leaves_no_unknown_field_in_the_message() -> None:
    message = peer_pb2.PeerFrame.FromString(written(ONE) + b"\xfa\x3f\x05hello")
    with pytest.raises(NotStrictError):
        check_strict(message, written(ONE) + b"\xfa\x3f\x05hello")
    assert message == ONE


def test_no_message_has_a_map_whose_second_value_for_a_key_would_not_be_seen() -> None:
    pool = descriptor_pool.Default()
    for module in (peer_pb2, ledger_pb2, node, gateway_service_pb2):
        names = module.DESCRIPTOR.message_types_by_name
        for name in names:
            kind: Descriptor = pool.FindMessageTypeByName(f"{module.DESCRIPTOR.package}.{name}")
            assert not any(nested.GetOptions().map_entry for nested in kind.nested_types)
