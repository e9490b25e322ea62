"""Calls of contracts in star/1 on the chain: the ledger's host behind the engine's port.

All contracts that one transaction calls share its gas, its overlay and its bounds; each writes in
its own namespace and announces under its own name. A contract that is being called is not entered
again, so its state never changes under its feet. Whatever a contract does ends in a value or in a
`Refusal` that says why and where.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, TypeVar

from guqiao_sdk.proof.json_values import Json, canonical_json
from guqiao_sdk.proof.receipt import DETAIL_DEPTH_MAX
from guqiao_sdk.proof.transaction import Payload
from services.consensus.domain.contracts.deployed import (
    CONTRACTS,
    Deployed,
    GasRules,
    Status,
    code_of,
    deployed,
    gas_rules,
)
from services.consensus.domain.contracts.host import Refusal
from services.consensus.domain.contracts.star.check import STACK_MAX
from services.consensus.domain.contracts.star.execution import (
    NOBODY,
    Outcome,
    Watch,
    call_method,
    execute,
)
from services.consensus.domain.contracts.star.execution import (
    Status as Ended,
)
from services.consensus.domain.contracts.star.faults import ContractError, OutOfGas
from services.consensus.domain.contracts.star.gas import Meter
from services.consensus.domain.contracts.star.port import OverHost
from services.consensus.domain.contracts.star.program import Program
from services.consensus.domain.contracts.template.enforcement import TierGuard
from services.consensus.domain.contracts.template.life_cycle_guard import LifeCycleGuard
from services.consensus.domain.contracts.template.vocabulary import Tier
from services.consensus.domain.ledger.host import LedgerHost, read_json
from services.consensus.domain.ledger.keys import contract_key, request_key
from services.consensus.domain.ledger.star_programs import StarPrograms
from services.consensus.domain.ledger.state import Readable

CALLS_DEEP_MAX: Final = 4
"""The called contract, and those that it calls in turn."""

TOLD_BYTES_MAX: Final = 3_800
"""Of a result, or of the facts of a contract's refusal, in a receipt, which is kept for ever."""

TOLD_DEPTH_MAX: Final = DETAIL_DEPTH_MAX - 2
PLAIN_FACTS: Final = frozenset(
    {"event", "gas", "group", "kind", "limit", "maximum", "roles", "signer", "step", "why"}
)
"""Facts of the engine's errors that are words of its own, of the template or of the call: they are
told of a call that read what the template restricts, too.
"""
TOPIC_LENGTH_MAX: Final = 128
EVENTS_PREFIX: Final = "contract."
"""Before name and topic: what a contract announces is taken for no system contract's word."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class DeploymentsState:
    """The keys of the contract `contracts`, for reading, whoever's call it is."""

    state: Readable

    def get(self, key: str) -> Json | None:
        """Return the value of `key`, or None."""
        return read_json(self.state, contract_key(CONTRACTS, key))


@dataclass(frozen=True, slots=True)
class StarCall:
    """How a transaction's call ended: its receipt's facts, or the refusal; and its gas."""

    gas_used: int
    facts: dict[str, Json]
    refusal: Refusal | None


def find_callable(state: Readable, name: str) -> Deployed:
    """The contract, if it may be called now; raises `Refusal`."""
    contract = deployed(DeploymentsState(state), name)
    if contract is None:
        raise Refusal("CONTRACT_UNKNOWN", contract=name)
    if contract.status is Status.DESTROYED:
        raise Refusal("CONTRACT_DESTROYED", contract=name)
    if contract.status is Status.PAUSED:
        raise Refusal("CONTRACT_PAUSED", contract=name)
    return contract


def rules_in_force(state: Readable) -> GasRules:
    """What gas is at this point of the chain."""
    return gas_rules(DeploymentsState(state))


def call_star(
    host: LedgerHost,
    programs: StarPrograms,
    rules: GasRules,
    contract: Deployed,
    method: str,
    arguments: Mapping[str, Json],
) -> StarCall:
    """Call a contract for a transaction. The caller drops what `host` holds where it is refused."""
    meter = Meter(rules.transaction_limit, rules.prices)
    on_chain = LedgerStarHost(host, programs, meter)
    with_program = on_chain.program(contract)
    watch = on_chain.enter(contract, with_program, method).watch(is_searched=contract.is_searched)
    outcome = execute(with_program, on_chain, meter, method, arguments, watch=watch)
    is_withheld = on_chain.has_read_restricted
    if outcome.status is Ended.OK:
        told = _told("result", outcome.result, is_withheld=is_withheld)
        return StarCall(outcome.gas_used, {"gas": outcome.gas_used, **told}, None)
    return StarCall(outcome.gas_used, {}, _refusal(contract.name, outcome, is_withheld=is_withheld))


def judge_arguments(state: Readable, payload: Payload) -> Refusal | None:
    """The refusal that a call will meet for its arguments, such as for numbers of persons, if it
    can be told before the transaction is ordered and thereby on chain for ever. A request that was
    executed once is answered again.
    """
    contract = deployed(DeploymentsState(state), payload.contract)
    if contract is None or contract.tiers is None:
        return None
    if state.get(request_key(payload.organisation, payload.request_id)) is not None:
        return None
    rules = rules_in_force(state)
    guard = TierGuard(contract.tiers, Meter(rules.transaction_limit, rules.prices))
    try:
        guard.arguments(payload.body)
    except ContractError as error:
        return Refusal(error.code, **error.fields, at=f"{contract.name}:0")
    except OutOfGas:
        return None
    return None


def _refusal(called: str, outcome: Outcome, *, is_withheld: bool) -> Refusal:
    """What a contract says by `require` is its own: codes of the chain it cannot speak."""
    assert outcome.code is not None
    at = f"{outcome.contract or called}:{outcome.line}"
    facts = dict(outcome.fields)
    if outcome.is_refusal:
        told = _told("facts", facts, is_withheld=is_withheld)
        return Refusal("CONTRACT_REFUSED", at=at, reason=outcome.code, **told)
    if is_withheld:
        plain = {name: value for name, value in facts.items() if name in PLAIN_FACTS}
        facts = plain if plain == facts else {**plain, **_withheld("facts")}
    return Refusal(outcome.code, **{**facts, "at": at})


def _told(name: str, value: Json, *, is_withheld: bool) -> dict[str, Json]:
    """The value; where it may carry what the template restricts, that it does not stand here, and
    where it is too long or too deep for a receipt, its size.
    """
    if is_withheld and value is not None and value != {}:
        return _withheld(name)
    size = len(canonical_json(value))
    if size > TOLD_BYTES_MAX or _depth(value) > TOLD_DEPTH_MAX:
        return {f"{name}_omitted_bytes": size}
    return {name: value}


def _withheld(name: str) -> dict[str, Json]:
    return {f"{name}_withheld": Tier.RESTRICTED.value}


def _depth(value: Json) -> int:
    """How deep lists and objects nest; the engine bounds it."""
    if isinstance(value, list | dict):
        parts = value.values() if isinstance(value, dict) else value
        return 1 + max(map(_depth, parts), default=0)
    return 0


@dataclass(frozen=True, slots=True)
class _Active:
    """A contract that is being called: the frames that it takes, and what stands before its writes
    and its steps, where it has a template.
    """

    name: str
    frames: int
    guard: TierGuard | None
    step: LifeCycleGuard | None

    def watch(self, *, is_searched: bool) -> Watch:
        """Who looks on at the call of a transaction."""
        if self.guard is None:
            return NOBODY
        told = self.guard.told if is_searched else None
        if self.step is None:
            return Watch(judge=self.guard.arguments, told=told)
        return Watch(self.guard.arguments, self.step.ended, told, self.guard.failed)


class LedgerStarHost(OverHost[LedgerHost]):
    """Implements `star.port.StarHost` for all calls that a transaction comes to."""

    __slots__ = ("_active", "_meter", "_programs", "has_read_restricted")

    def __init__(self, host: LedgerHost, programs: StarPrograms, meter: Meter) -> None:
        super().__init__(host)
        self._programs = programs
        self._meter = meter
        self._active: list[_Active] = []
        self.has_read_restricted = False
        """Whether any of the contracts read what its template restricts: what is answered may
        carry it, whichever of them answers.
        """

    def program(self, contract: Deployed) -> Program:
        """The contract, compiled."""
        state = DeploymentsState(self._host.writes)
        table = self._meter.table
        return self._programs.find(contract.digest, table, lambda: code_of(state, contract))

    def enter(self, contract: Deployed, program: Program, method: str) -> _Active:
        """Count a contract among those that are being called."""
        frames = program.module.frames.get(method, 0)
        in_all = frames + sum(each.frames for each in self._active)
        if len(self._active) >= CALLS_DEEP_MAX or in_all > STACK_MAX:
            raise ContractError("LIMIT_EXCEEDED", limit="call_depth", maximum=CALLS_DEEP_MAX)
        guard = None if contract.tiers is None else TierGuard(contract.tiers, self._meter)
        step = None
        if guard is not None and contract.life_cycle is not None:
            signers = (self._host.sender(), self._host.checker())
            step = LifeCycleGuard(contract.life_cycle, guard.tiers, self._meter, method, *signers)
        self._active.append(_Active(contract.name, frames, guard, step))
        return self._active[-1]

    def call(self, contract: str, method: str, arguments: Mapping[str, Json]) -> Json:
        """Call another contract; what it raises ends the whole call."""
        if any(each.name == contract for each in self._active):
            raise ContractError("CONTRACT_REENTERED", callee=contract)
        called = _or_contract_error(lambda: find_callable(self._host.writes, contract))
        program = self.program(called)
        active = self.enter(called, program, method)
        if active.guard is not None:
            active.guard.passed(arguments)
        results: list[Json] = []
        try:
            self._host.within(
                contract,
                lambda: results.append(call_method(program, self, self._meter, method, arguments)),
            )
            if active.step is not None:
                active.step.ended()
        except (ContractError, OutOfGas) as error:
            if error.line and not error.contract:
                error.contract = contract
            if active.guard is not None and active.step is not None:
                _search(active.guard, error)
            raise
        self._active.pop()
        return results[0]

    def get(self, key: str) -> Json | None:
        """Return the value of `key`, own writes included, or None, if who signs may read it."""
        step = self._active[-1].step
        if step is None:
            return self._host.get(key)
        step.require_readable(key)
        value = self._host.get(key)
        step.found(key, value)
        self.has_read_restricted |= step.has_read_restricted
        return value

    def put(self, key: str, value: Json) -> None:
        """Write `value`, which is not None, under `key`, if it is of that tier."""
        guard = self._active[-1].guard
        if guard is not None:
            guard.write(key, value)
        step = self._active[-1].step
        if step is not None:
            step.write(key, value, lambda: self._host.get(key))
        _or_contract_error(lambda: self._host.put(key, value))

    def delete(self, key: str) -> None:
        """Remove `key`; no effect when it is absent."""
        step = self._active[-1].step
        if step is not None:
            step.delete(key)
        _or_contract_error(lambda: self._host.delete(key))

    def entries(self, prefix: str, limit: int) -> Iterable[tuple[str, Json]]:
        """At most `limit` entries under `prefix`, by bytes of the key, own writes seen; each is
        read when it is asked for, so that it is paid for before the next.

        Deleted keys that are passed over are many where the block has just deleted them; each key
        that it wrote there is paid for.
        """
        passed = self._host.writes.written_under(contract_key(self._active[-1].name, prefix))
        self._meter.charge(self._meter.table.element * passed)
        step = self._active[-1].step
        found = self._host.entries(prefix, limit)
        return found if step is None else self._watched(step, prefix, found)

    def _watched(
        self, step: LifeCycleGuard, prefix: str, found: Iterable[tuple[str, Json]]
    ) -> Iterator[tuple[str, Json]]:
        step.require_readable(prefix)
        self.has_read_restricted |= step.has_read_restricted
        for key, value in found:
            step.found(key, value)
            self.has_read_restricted |= step.has_read_restricted
            yield key, value

    def emit(self, topic: str, body: Json) -> None:
        """Add an event, under the contract's name."""
        active = self._active[-1]
        full = f"{EVENTS_PREFIX}{active.name}.{topic}"
        if len(full) > TOPIC_LENGTH_MAX:
            raise ContractError("LIMIT_EXCEEDED", limit="topic", maximum=TOPIC_LENGTH_MAX)
        if active.guard is not None:
            active.guard.event(body)
        if active.step is not None:
            active.step.event(topic, body)
        _or_contract_error(lambda: self._host.emit(full, body))


def _search(guard: TierGuard, error: ContractError | OutOfGas) -> None:
    """What ends the call within a contract ends all, and its facts are told by whoever called."""
    if isinstance(error, ContractError):
        guard.failed(error)


def _or_contract_error(ask: Callable[[], T]) -> T:
    """What the ledger's host refuses, the engine notes with the line."""
    try:
        return ask()
    except Refusal as refusal:
        raise ContractError(refusal.code, **refusal.fields) from None
