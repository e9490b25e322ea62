"""Every refusal of a gateway's server leaves one record with its code, who asked and what, is
counted once, and changes nothing else.

The table is `refused_calls.py`. A code of the service that no case reaches fails the run.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from typing import Final

import pytest

from guqiao_sdk.gm.sm3 import sm3
from services.chassis.grpc_server.ports import Decision
from services.gateway.api import POLICIES
from tests.integration.gateway.refused_calls import CASES
from tests.integration.gateway.refusing_door import SERVICE, Case, Door, at_door
from tests.integration.gateway.test_gateway_rpc import delivery, forgeries
from tests.plugins.link_lab import PEER, LinkLab, open_unfetched
from tests.plugins.postgres import NewDatabase
from tests.tidy.source import sources
from tests.tidy.test_codes_in_catalogue import raised_codes

pytestmark = pytest.mark.req("G2-19-2")

SERVED: Final = ("services/gateway/", "services/chassis/grpc_server/")
"""What stands between a call and its refusal."""

NOT_OF_A_CALL: Final = {
    "CLIENT_FROZEN": "what keeps the own light client young, in GetLink's `light_client`",
    "DATA_FOLDER_IN_USE": "a replica's file of nonces; the gateway keeps them in its database",
    "DISK_FULL": "a replica's file of nonces",
    "LINK_UNATTENDED": "told to the own relay, in GetLink's `last_error`",
    "NONCES_DAMAGED": "a replica's file of nonces",
    "OBSERVED_ANSWER_MALFORMED": "an observed node, in ListObservedChains",
    "OBSERVED_ITEM_UNKNOWN": "an observed node, in ListObservedChains",
    "OBSERVED_NODE_REFUSED": "an observed node, in ListObservedChains",
    "OBSERVED_NODE_UNAVAILABLE": "an observed node, in ListObservedChains",
    "PORT_IN_USE": "the process does not start",
    "RECEIPT_TOO_LARGE": "the cause of a packet that the own relay sets aside",
    "STREAM_ITEM_INVALID": "a client stream, of which the gateway has none",
}
"""Codes that no call to a gateway ends with, and where they are told."""


@pytest.fixture
async def link(
    new_database: NewDatabase, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[LinkLab]:
    async with open_unfetched(new_database, monkeypatch) as opened:
        yield opened


def counts_of(link: LinkLab) -> Counter[tuple[str, str]]:
    """How many calls were refused, by organisation and code."""
    registry = link.regulator.runtime.telemetry.metrics.registry
    return Counter(
        {
            (sample.labels["organisation"], sample.labels["code"]): int(sample.value)
            for metric in registry.collect()
            for sample in metric.samples
            if sample.name == "guqiao_rpc_refusals_total"
        }
    )


async def test_every_refused_call_is_recorded_once_and_changes_nothing(link: LinkLab) -> None:
    wrong = []
    for case in CASES:
        with pytest.MonkeyPatch.context() as monkeypatch:
            async with at_door(link, monkeypatch, **await case.options_at(link)) as door:
                found = [each async for each in problems(door, case)]
        wrong += [f"{case.code} {case.name}: {each}" for each in found]
    assert wrong == []


async def problems(door: Door, case: Case) -> AsyncIterator[str]:
    """What is wrong with how a refusal is told, recorded and counted, and with what it left."""
    counts = counts_of(door.link)
    code, expected = await case.provoke(door)
    if code != case.code:
        yield f"refused with {code}"
    records = door.audit.records
    recorded = [record for record in records if record.code]
    said = [
        (each.decision, each.code, each.method, each.did, each.organisation, each.request_digest)
        for each in recorded
    ]
    who = expected.did, expected.organisation
    true = (expected.decision, case.code, expected.method, *who, expected.digest)
    if said != ([] if expected.decision is None else [true]):
        yield f"recorded as {said}"
    if any(not each.peer.startswith("ipv4:127.0.0.1:") for each in recorded):
        yield "from nowhere"
    if expected.decision is Decision.ENDED:
        allowed, ending = records[-2:]
        before = allowed.decision, allowed.code, allowed.trace_id, allowed.request_digest
        if before != (Decision.ALLOWED, "", ending.trace_id, ending.request_digest):
            yield f"let through as {before}"
    counted = counts_of(door.link) - counts
    if counted != Counter({(expected.label, case.code): 1} if expected.is_counted else {}):
        yield f"counted as {counted}"
    now = await door.everything()
    assert door.before is not None, "a case says from where on nothing may change"
    changed = {key for key in now.keys() | door.before if now.get(key) != door.before.get(key)}
    if changed:
        yield f"changed {sorted(changed)}"


async def test_what_the_chain_refuses_is_recorded_with_the_chains_code(
    link: LinkLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So is what the gateway refuses of a delivery by itself; the true one has an effect."""
    link.report(2)
    true = await delivery(link)
    method = f"{SERVICE}/DeliverPackets"
    async with at_door(link, monkeypatch) as door:
        await door.note()
        for name, forged, (_, code) in forgeries(link, true):
            door.audit.records.clear()
            counts = counts_of(link)
            message = forged.SerializeToString()
            assert await door.ask_as(method, message, PEER) == code, name
            [allowed, ended] = door.audit.records
            assert (allowed.decision, allowed.code) == (Decision.ALLOWED, ""), name
            assert (ended.decision, ended.code) == (Decision.ENDED, code), name
            assert (ended.method, ended.did, ended.organisation) == (method, PEER, PEER), name
            assert ended.request_digest == sm3(message).hex(), name
            assert counts_of(link) - counts == Counter({(PEER, code): 1}), name
            assert await door.everything() == door.before, name
        metadata = door.signed(method, true.SerializeToString(), PEER)
        await door.answered(method, true.SerializeToString(), metadata)
        assert await door.everything() != door.before, "what is compared shows an effect"
    assert link.recorded() == 2


def test_no_code_of_the_service_is_without_a_case() -> None:
    raised = {
        code
        for source in sources("services")
        if source.path.startswith(SERVED)
        for _, code, _ in raised_codes(source)
    }
    assert "CALL_UNKNOWN" in raised, "codes are found"
    reached = {case.code for case in CASES}
    assert sorted(raised - reached) == sorted(NOT_OF_A_CALL)
    assert [row for row, policy in POLICIES.items() if policy.stream_items is not None] == []
