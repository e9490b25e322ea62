"""The other gateway lies about the proofs of record: its receipts are taken as they are proven, a
false anchor is neither kept nor handed out, and once it is honest every anchor is there.
"""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from guqiao.gateway.v1 import packet_pb2
from guqiao_sdk.client.anchors import verify_anchor
from guqiao_sdk.errors import NotFoundError
from guqiao_sdk.proof.bundle import Bundle, CertifiedHeader
from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.proof.transaction import SignedTransaction
from guqiao_sdk.proof.trust import Trust
from guqiao_sdk.verify import verify_bundle
from services.chassis.postgres import open_pool
from services.chassis.postgres.migrations import migrate
from services.gateway import handlers as gateway_handlers
from services.gateway import store
from services.gateway.app import MIGRATIONS
from services.gateway.domain.errors import LinkUnknownError
from services.gateway.domain.relay import UNPROVEN_MAX
from services.gateway.handlers import Handlers
from tests.integration.gateway.lying_gateway import (
    LIES,
    changed_certificate,
    changed_receipt,
    lying,
)
from tests.plugins.flipping import flipped
from tests.plugins.link_lab import KEYS, LinkLab, history_of, open_link
from tests.plugins.postgres import NewDatabase
from tests.plugins.service_lab import wait_until
from tests.unit.proof.bundle_case import ISSUER, chain_trust

RECEIVED, ACKNOWLEDGED = 2, 3


@pytest.fixture
async def link(
    new_database: NewDatabase, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[LinkLab]:
    monkeypatch.setattr(gateway_handlers, "READ_MODEL_SECONDS", 0.05)
    async with open_link(new_database) as opened:
        yield opened


async def deliver_each(link: LinkLab, count: int) -> None:
    """Packets that are recorded one in a block, so that each has another anchor."""
    for _ in range(count):
        link.report()
        await link.project()
        assert await link.relay.deliver_some() == 1
    await link.project()


async def anchored(link: LinkLab) -> list[int]:
    """The packets whose anchors are kept, whatever these are."""
    rows = await link.market.rows("packets_sent", "sequence")
    for row in rows:
        assert (row["anchor"] is None) == (row["remote_transaction_id"] is None)
    return [row["sequence"] for row in rows if row["anchor"] is not None]


def failures(link: LinkLab) -> int:
    """How often the metric says that anchors failed."""
    for line in link.market.runtime.telemetry.metrics.render().decode().splitlines():
        if line.startswith('guqiao_gateway_relay_failures_total{remote="csrc",step="anchor"}'):
            return int(float(line.split()[-1]))
    return 0


async def prove(link: LinkLab, sequence: int) -> None:
    """The bundle that `guqiao tx proof` makes of the packet's transaction verifies offline."""
    chain, csrc = link.market.node.chain, link.regulator.node.chain
    row = (await link.market.rows("packets_sent", "sequence"))[sequence - 1]
    sent, _ = await link.market_handlers.get_packet(row["transaction_id"], 0)
    message = packet_pb2.Anchor.FromString(sent.anchor)
    sets = history_of(link.regulator)
    anchor = verify_anchor(message, sent.packet, sent.remote_transaction_id, sets)
    block = chain.blocks[row["height"]]
    bundle = Bundle(
        transaction=SignedTransaction.decode(block.transactions[0]),
        transaction_path=block.transaction_path(0),
        receipt=block.receipts[0],
        receipt_path=block.receipt_path(0),
        certified=CertifiedHeader.build(chain.replicas.set, block.header, block.certificate),
        packets=(sent.packet,),
        anchors=(anchor,),
    )
    trust = Trust(
        issuer_did=ISSUER,
        issuer_key=KEYS.public_key(ISSUER),
        issued_at="2026-01-05T09:30:00+08:00",
        chains=tuple(chain_trust(each, each.genesis.replica_set) for each in (csrc, chain)),
    )
    verdict = verify_bundle(bundle.encode(), trust, KEYS.verify, now_ms=0)
    assert verdict.packets == (sent.packet,)
    assert verdict.anchor is not None
    assert verdict.anchor.code == ""


@pytest.mark.req("N0-07", "G2-08-5", "G2-16-1")
@pytest.mark.parametrize("name", LIES)
async def test_a_false_anchor_is_not_kept_its_packet_is_acknowledged_and_the_true_one_kept_later(
    link: LinkLab, name: str
) -> None:
    lie, reason = LIES[name]
    await deliver_each(link, 3)
    liar = lying(link, lie, 2)

    assert await link.relay.acknowledge_some() == 3
    await link.project()
    assert await link.states() == [ACKNOWLEDGED] * 3
    assert link.acknowledged() == 3
    assert await anchored(link) == [1, 3]
    assert link.relay.last_error.startswith("anchor: anchor of packet 2: ")
    assert reason in link.relay.last_error
    assert failures(link) == 1

    with pytest.raises(ProofError, match="anchor of packet 2"):
        await link.relay.anchor_some()
    assert await anchored(link) == [1, 3]

    liar.lying = False
    assert await link.relay.anchor_some() == 1
    assert await anchored(link) == [1, 2, 3]
    assert await link.relay.anchor_some() == 0
    for sequence in (1, 2, 3):
        await prove(link, sequence)


@pytest.mark.req("N0-07")
async def test_a_relay_at_work_says_so_while_an_anchor_is_false_and_heals_by_itself(
    link: LinkLab,
) -> None:
    liar = lying(link, changed_certificate, 2)
    async with link.at_work():
        for _ in range(3):
            link.report()
        await link.wait_states(lambda: [ACKNOWLEDGED] * 3)

        async def refused_again() -> bool:
            return failures(link) > 2 and "anchor of packet 2" in link.relay.last_error

        await wait_until("the failure is shown", refused_again)
        assert await anchored(link) == [1, 3]
        liar.lying = False

        async def healed() -> bool:
            return await anchored(link) == [1, 2, 3] and not link.relay.last_error

        await wait_until("the true anchor is kept", healed)
    await prove(link, 2)


async def forget_anchors(link: LinkLab) -> None:
    """As if the rows had been rebuilt."""
    await link.market.pool.execute(
        "UPDATE packets_sent SET anchor = NULL, remote_transaction_id = NULL"
    )


@pytest.mark.req("N0-07")
async def test_false_anchors_hold_up_no_others_and_take_turns(link: LinkLab) -> None:
    """Fifty are asked for at a time, and the first fifty are false."""
    link.report(50)
    link.report(20)
    await link.deliver_and_acknowledge()
    await forget_anchors(link)
    false, true = list(range(1, 51)), list(range(51, 71))
    liar = lying(link, changed_certificate, *false)
    with pytest.raises(ProofError):
        await link.relay.anchor_some()
    assert await link.relay.anchor_some() == 20
    assert await anchored(link) == true
    with pytest.raises(ProofError):
        await link.relay.anchor_some()
    assert liar.asked == [false, [*true, *false[:30]], [*false[30:], *false[:30]]]
    liar.lying = False
    assert [await link.relay.anchor_some() for _ in range(2)] == [50, 0]
    assert await anchored(link) == [*false, *true]


@pytest.mark.req("N0-07")
async def test_a_packet_of_which_nothing_is_told_holds_up_no_anchors_and_is_not_delivered_again(
    link: LinkLab,
) -> None:
    """The other gateway's read model has lost packet 3: a call that names it is refused whole."""
    link.report(9)
    await link.deliver_and_acknowledge()
    await forget_anchors(link)
    link.report()
    await link.project()
    assert await link.relay.deliver_some() == 1
    await link.regulator.pool.execute("DELETE FROM packets_received WHERE sequence = 3")
    refused = 0
    while await anchored(link) != [1, 2, 4, 5, 6, 7, 8, 9]:
        refused += await refuses(link)
        assert refused < 12, "more calls than it takes to find one of nine"
    for _ in range(UNPROVEN_MAX):
        assert await refuses(link)
    assert await link.states() == [ACKNOWLEDGED] * 9 + [RECEIVED]
    await link.regulator.pool.execute("TRUNCATE packets_received, projected_blocks")
    await link.project()
    assert await link.relay.anchor_some() == 1
    assert await anchored(link) == list(range(1, 10))


async def refuses(link: LinkLab) -> bool:
    """Whether the next round for anchors is refused because a packet is not known."""
    try:
        await link.relay.anchor_some()
    except NotFoundError as error:
        return error.code == "PACKET_UNKNOWN"
    return False


async def test_a_lie_to_one_relay_takes_nothing_from_what_another_has_kept(link: LinkLab) -> None:
    await deliver_each(link, 2)
    assert await link.relay.acknowledge_some() == 2
    before = await link.market.rows("packets_sent", "sequence")
    await link.market.pool.execute("UPDATE packets_sent SET state = 2")
    link.relay = link.another_relay()
    lying(link, changed_receipt, 1, 2)
    assert await link.relay.acknowledge_some() == 2
    after = await link.market.rows("packets_sent", "sequence")
    assert [row["anchor"] for row in after] == [row["anchor"] for row in before]
    assert await link.relay.anchor_some() == 0
    for sequence in (1, 2):
        await prove(link, sequence)


def spoilt(anchor: bytes) -> bytes:
    message = packet_pb2.Anchor.FromString(anchor)
    message.receipt_proof.leaf = flipped(message.receipt_proof.leaf)
    return message.SerializeToString()


KEPT_FALSE: dict[str, tuple[Callable[[bytes], bytes], bytes | None]] = {
    "a changed byte": (spoilt, None),
    "no message at all": (lambda anchor: b"\xff" * 40, None),
    "another transaction id": (lambda anchor: anchor, b"\x01" * 32),
}


@pytest.mark.req("N0-07", "G2-08-5")
@pytest.mark.parametrize("kind", KEPT_FALSE)
async def test_a_false_anchor_that_an_earlier_version_kept_is_not_handed_out_and_heals(
    link: LinkLab, kind: str
) -> None:
    await deliver_each(link, 2)
    await link.relay.acknowledge_some()
    change, name = KEPT_FALSE[kind]
    row = (await link.market.rows("packets_sent", "sequence"))[0]
    false = change(row["anchor"])
    await link.market.pool.execute(
        "UPDATE packets_sent SET anchor = $1, remote_transaction_id = $2 WHERE sequence = 1",
        false,
        name or row["remote_transaction_id"],
    )
    assert await link.relay.anchor_some() == 0, "nobody has asked for it yet"

    for _ in range(2):
        sent, count = await link.market_handlers.get_packet(row["transaction_id"], 0)
        assert (sent.anchor, sent.remote_transaction_id, count) == (b"", b"", 1)
    [kept, _] = await link.market.rows("packets_sent", "sequence")
    assert kept["anchor"] == false, "it stays until a true one is there"

    assert await link.relay.anchor_some() == 1
    for sequence in (1, 2):
        await prove(link, sequence)
    assert await link.relay.anchor_some() == 0


async def test_an_anchor_of_a_chain_that_is_not_linked_any_more_cannot_be_judged(
    link: LinkLab,
) -> None:
    link.report()
    await link.deliver_and_acknowledge()
    [row] = await link.market.rows("packets_sent", "sequence")
    metrics = link.market_handlers.metrics
    unlinked = Handlers(link.market.pool, link.market.runtime.client, {}, metrics)
    with pytest.raises(LinkUnknownError):
        await unlinked.get_packet(row["transaction_id"], 0)
    await prove(link, 1)


@pytest.mark.req("N0-07", "G2-20-1")
async def test_a_packet_that_was_delivered_twice_is_anchored_by_its_first_delivery(
    link: LinkLab,
) -> None:
    """What an honest gateway gives always holds: the receipt of the second delivery records nothing
    and neither does that of a transaction that came again.
    """
    await deliver_each(link, 2)
    csrc = link.regulator.node.chain
    recorded = [
        block.receipts[0].transaction_id
        for block in csrc.blocks.values()
        if any(event.topic == "packet.received" for event in block.receipts[0].events)
    ]
    first = next(
        block for block in csrc.blocks.values() if block.receipts[0].transaction_id == recorded[0]
    )
    link.report()  # The next block gives a next header, so the request is another one.
    await link.project()
    await link.market.pool.execute("UPDATE packets_sent SET state = 1")
    assert await link.relay.deliver_some() == 3
    topics = [event.topic for event in csrc.blocks[csrc.header.height].receipts[0].events]
    assert topics.count("packet.received_again") == 2
    csrc.execute(*first.transactions)
    assert csrc.blocks[csrc.header.height].receipts[0].code == "TRANSACTION_DUPLICATE"

    await link.deliver_and_acknowledge()
    rows = await link.market.rows("packets_sent", "sequence")
    assert [row["remote_transaction_id"] for row in rows[:2]] == recorded
    assert await anchored(link) == [1, 2, 3]
    for sequence in (1, 2, 3):
        await prove(link, sequence)


async def test_anchors_kept_by_an_earlier_version_stay_where_they_are(
    new_database: NewDatabase, tmp_path: Path
) -> None:
    """The chain's old blocks may be in an archive that is away: what proves is not thrown away."""
    earlier = [MIGRATIONS / "0001_packets.sql", MIGRATIONS / "0002_acknowledgements.sql"]
    for path in earlier:
        shutil.copy(path, tmp_path)
    async with open_pool(await new_database()) as pool, pool.acquire() as connection:
        await migrate(connection, "gateway", tmp_path)
        await connection.execute(
            """
            INSERT INTO packets_sent (destination, port, sequence, payload, transaction_id, height,
                                      state, remote_transaction_id, anchor)
            VALUES ('csrc', 'data_object', 1, '{}', 'name', 1, 3, 'there', 'anchor'),
                   ('csrc', 'data_object', 2, '{}', 'other', 2, 3, NULL, NULL)
            """
        )
        await migrate(connection, "gateway", MIGRATIONS)
        found = await store.find_sent(connection, "shandong", b"name", 0)
        assert found is not None
        assert (found[0].anchor, found[0].remote_transaction_id) == (b"anchor", b"there")
        lacking = await store.list_unanchored(connection, "shandong", "csrc", 50)
        assert [sent.packet.sequence for sent in lacking] == [2]
        await store.refuse_anchor(connection, found[0].packet, b"anchor")
        lacking = await store.list_unanchored(connection, "shandong", "csrc", 50)
        assert [sent.packet.sequence for sent in lacking] == [2, 1]
