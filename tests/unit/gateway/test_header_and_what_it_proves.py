"""A header of the other chain and what it proves leave together, in this order, with one effect."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from guqiao_sdk.client.transactions import TransactionResult
from guqiao_sdk.errors import ErrorFacts, UnavailableError
from guqiao_sdk.proof.json_values import Json
from guqiao_sdk.proof.receipt import Outcome
from services.chassis.errors import ServiceError
from services.gateway.domain.relay import ProvenHeader
from services.gateway.handlers import submit_proven

HEADER = ProvenHeader("shandong", 7, b"header", b"certificate")
BODY: dict[str, Json] = {"packets": []}
UPDATE, ACKNOWLEDGE = "light_client.update", "packets.acknowledge"


@dataclass(frozen=True)
class Built:
    """What a client would sign."""

    call: str
    request_id: str
    after: bytes | None

    def id(self) -> bytes:
        """As unique as the request."""
        return self.request_id.encode()


@dataclass
class Chain:
    """A client of a chain that answers each call with the next of its answers, by default at once
    and with effect. `in_company` answers nobody before so many calls are under way.
    """

    answers: Mapping[str, list[TransactionResult | Exception]]
    in_company: int = 1
    submitted: list[Built] = field(default_factory=list)
    height: int = 9
    _assembled: asyncio.Event = field(default_factory=asyncio.Event)

    async def build(
        self, contract: str, method: str, body: Json, *, request_id: str, after: bytes | None
    ) -> Built:
        return Built(f"{contract}.{method}", request_id, after)

    async def submit(self, transaction: Built) -> TransactionResult:
        self.submitted.append(transaction)
        if len(self.submitted) >= self.in_company:
            self._assembled.set()
        async with asyncio.timeout(60):
            await self._assembled.wait()
        due = self.answers.get(transaction.call)
        answer = due.pop(0) if due else result(transaction.id())
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def get_header(self) -> tuple[Any, None]:
        return self, None

    @property
    def calls(self) -> list[str]:
        """What was submitted, in order."""
        return [each.call for each in self.submitted]


def result(
    name: bytes, code: str = "", *, outcome: Outcome = Outcome.APPLIED, height: int = 9
) -> TransactionResult:
    return TransactionResult(name, outcome, code, {}, b"", height, 0, b"")


async def acknowledge(chain: Chain) -> TransactionResult:
    return await submit_proven(cast(Any, chain), HEADER, "acknowledge", BODY)


@pytest.mark.req("T2-14")
async def test_both_are_under_way_at_once_and_the_second_follows_the_first() -> None:
    chain = Chain({}, in_company=2)
    answer = await acknowledge(chain)
    update, proven = chain.submitted
    assert chain.calls == [UPDATE, ACKNOWLEDGE]
    assert (update.after, proven.after) == (None, update.id())
    assert answer.transaction_id == proven.id()


@pytest.mark.req("T2-14")
async def test_a_header_that_an_old_refusal_answers_is_asked_for_again_and_all_behind_it() -> None:
    """The first refusal is bound to its request, and what followed it found no header."""
    old = result(b"old", "CLIENT_FROZEN", outcome=Outcome.REPLAYED, height=3)
    chain = Chain({UPDATE: [old], ACKNOWLEDGE: [result(b"early", "HEADER_UNKNOWN")]})
    answer = await acknowledge(chain)
    assert chain.calls == [UPDATE, ACKNOWLEDGE, UPDATE, ACKNOWLEDGE]
    first, early, again, last = chain.submitted
    assert first.request_id != again.request_id
    assert early.request_id == last.request_id
    assert last.after == again.id()
    assert answer.accepted


@pytest.mark.req("T2-14")
async def test_a_header_that_is_refused_is_told_by_its_own_code() -> None:
    refused = result(b"1", "CLIENT_FROZEN", outcome=Outcome.REFUSED)
    early = result(b"2", "HEADER_UNKNOWN", outcome=Outcome.REFUSED)
    chain = Chain({UPDATE: [refused], ACKNOWLEDGE: [early]})
    with pytest.raises(ServiceError) as caught:
        await acknowledge(chain)
    assert caught.value.code == "CLIENT_FROZEN"
    assert chain.calls == [UPDATE, ACKNOWLEDGE]


@pytest.mark.req("T2-14")
async def test_what_a_taken_header_does_not_help_is_refused_by_its_code_once() -> None:
    refused = result(b"2", "PACKET_UNKNOWN", outcome=Outcome.REFUSED)
    chain = Chain({ACKNOWLEDGE: [refused]})
    with pytest.raises(ServiceError) as caught:
        await acknowledge(chain)
    assert caught.value.code == "PACKET_UNKNOWN"
    assert chain.calls == [UPDATE, ACKNOWLEDGE]


@pytest.mark.parametrize("lost", [UPDATE, ACKNOWLEDGE])
async def test_what_is_not_answered_is_raised_for_the_step_to_come_again(lost: str) -> None:
    chain = Chain({lost: [UnavailableError(ErrorFacts("NODE_UNREACHABLE", "no replica answers"))]})
    with pytest.raises(UnavailableError):
        await acknowledge(chain)
    assert chain.calls == [UPDATE, ACKNOWLEDGE]
    repeated = Chain({})
    await acknowledge(repeated)
    assert [each.request_id for each in repeated.submitted] == [
        each.request_id for each in chain.submitted
    ]
