"""Execution: what an ordered batch does to the state, one transaction after another.

Each transaction gets a receipt. The ledger, not the contract, knows which ids were executed and
which request is bound to which outcome: a refusal drops the contract's effects, the binding stays
(design section 6). Anything but a `Refusal` out of a contract is our own bug and stops the replica.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from guqiao_sdk.proof.batch import Batch, batch_digest
from guqiao_sdk.proof.header import BlockHeader, Verify
from guqiao_sdk.proof.json_values import Json, JsonError, canonical_json
from guqiao_sdk.proof.merkle import merkle_root
from guqiao_sdk.proof.quorum import ReplicaSet
from guqiao_sdk.proof.receipt import PREDECESSOR_MISSING, Outcome, Receipt, is_final
from guqiao_sdk.proof.restart import Restart
from guqiao_sdk.proof.transaction import EXPIRY_HEIGHTS_MAX, Payload
from services.consensus.domain.contracts.catalogue import Catalogue
from services.consensus.domain.contracts.deployed import GasRules
from services.consensus.domain.contracts.host import (
    OUTPUT_BYTES_MAX,
    Contract,
    Party,
    Refusal,
    call,
)
from services.consensus.domain.contracts.replica_sets import set_at
from services.consensus.domain.ledger.admission import AdmittedTransaction
from services.consensus.domain.ledger.authorisation import Identities, authorise
from services.consensus.domain.ledger.genesis import Genesis
from services.consensus.domain.ledger.host import CallContext, LedgerHost
from services.consensus.domain.ledger.keys import executed_key, request_key
from services.consensus.domain.ledger.restarting import GovernanceState, write_restart
from services.consensus.domain.ledger.star_calls import call_star, find_callable, rules_in_force
from services.consensus.domain.ledger.star_programs import StarPrograms
from services.consensus.domain.ledger.state import Layer, Readable, StateReader

DETAIL_BYTES_MAX: Final = 4_096
"""The facts of a refusal are kept for ever; larger ones are replaced by their size."""

BLOCK_OUTPUT_BYTES_MAX: Final = OUTPUT_BYTES_MAX
"""What a block's transactions may write and announce together: a whole block goes through one
frame, one call and one event of the bus. What does not fit any more must come again; any one call
has room in an empty block."""

_NO_DETAIL: Final = b"{}"


@dataclass(frozen=True, slots=True)
class BlockResult:
    """What a batch came to. With the state root that follows from `write_set` it is a block."""

    height: int
    epoch: int
    parent: BlockHeader
    batch: Batch
    receipts: tuple[Receipt, ...]
    encoded_receipts: tuple[bytes, ...]
    write_set: Mapping[bytes, bytes | None]
    next_set_hash: bytes

    def header(self, state_root: bytes) -> BlockHeader:
        """Return the block's header."""
        transactions_root = self.batch.transactions_root()
        return BlockHeader(
            chain_id=self.parent.chain_id,
            epoch=self.epoch,
            height=self.height,
            parent=self.parent.hash(),
            batch_digest=batch_digest(self.batch.block_time_ms, transactions_root),
            block_time_ms=self.batch.block_time_ms,
            transactions_root=transactions_root,
            receipts_root=merkle_root(self.encoded_receipts),
            state_root=state_root,
            next_set_hash=self.next_set_hash,
        )


def execute_block(
    state: StateReader,
    *,
    genesis: Genesis,
    catalogue: Catalogue,
    parent: BlockHeader,
    batch: Batch,
    transactions: Sequence[AdmittedTransaction],
    verify: Verify,
    restarts: Sequence[Restart] = (),
    programs: StarPrograms | None = None,
) -> BlockResult:
    """Execute `batch` on the state after `parent`. `transactions` are the batch's own, read;
    `restarts` are those behind `parent`: the block is the first one of the epoch that they begin.
    `programs` are kept from block to block by whoever executes many; they change no result.
    """
    assert all(each.statement.header == parent for each in restarts)
    assert parent.block_time_ms <= batch.block_time_ms, "block time never decreases"
    assert [transaction.encoded for transaction in transactions] == list(batch.transactions)
    block = _Block(
        state,
        genesis,
        catalogue,
        parent.height + 1,
        batch.block_time_ms,
        verify,
        StarPrograms() if programs is None else programs,
    )
    for each in restarts:
        write_restart(block.state, each)
    receipts = tuple(block.execute(transaction) for transaction in transactions)
    block.keep_executed()
    height = parent.height + 1
    return BlockResult(
        height=height,
        epoch=replica_set_at(block.state, genesis, height).epoch,
        parent=parent,
        batch=batch,
        receipts=receipts,
        encoded_receipts=tuple(receipt.encode() for receipt in receipts),
        write_set=block.state.net_writes(),
        next_set_hash=replica_set_at(block.state, genesis, height + 1).hash(),
    )


def replica_set_at(state: Readable, genesis: Genesis, height: int) -> ReplicaSet:
    """The set that certifies `height`: at most one above the last height of `state`, or below."""
    known = set_at(GovernanceState(state), height)
    return genesis.replica_set if known is None else known.replica_set


class _NoEffect(Exception):  # noqa: N818 - an ordinary outcome, not an error
    """Refused before the request was looked at: no effect, no binding to its request id."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.code)
        self.refusal = refusal


class _Block:
    """One block being executed. `state` collects its writes."""

    def __init__(
        self,
        state: StateReader,
        genesis: Genesis,
        catalogue: Catalogue,
        height: int,
        block_time_ms: int,
        verify: Verify,
        programs: StarPrograms,
    ) -> None:
        self.state = Layer(state)
        self._committed = state
        self._genesis = genesis
        self._catalogue = catalogue
        self._height = height
        self._block_time_ms = block_time_ms
        self._verify = verify
        self._programs = programs
        self._gas_used = 0
        self._identities = Identities(self.state)
        self._executed: dict[bytes, None] = {}
        self._output_bytes = 0
        self._is_full = False
        self._contracts: dict[str, Contract] = {}

    def execute(self, transaction: AdmittedTransaction) -> Receipt:
        """Execute one transaction; its effects are then part of `state`."""
        try:
            receipt = self._execute(transaction)
        except _NoEffect as stop:
            code, detail = stop.refusal.code, _detail(stop.refusal)
            receipt = Receipt(transaction.id, Outcome.REFUSED, code, detail, b"", ())
        if is_final(receipt):
            self._executed[transaction.id] = None
        return receipt

    def keep_executed(self) -> None:
        """Write the ids of this block and drop those that can no longer be replayed."""
        if self._executed:
            self.state.put(executed_key(self._height), b"".join(self._executed))
        expired = self._height - EXPIRY_HEIGHTS_MAX - 1
        if expired > 0:
            self.state.put(executed_key(expired), None)

    def _execute(self, transaction: AdmittedTransaction) -> Receipt:
        payload = transaction.payload
        self._check_replay(transaction)
        self._check_predecessor(payload)
        try:
            maker, checker = authorise(self._identities, transaction, self._block_time_ms)
        except Refusal as refusal:
            raise _NoEffect(refusal) from None
        key, body_digest = (
            request_key(payload.organisation, payload.request_id),
            payload.body_digest(),
        )
        bound = self.state.get(key)
        if bound is not None:
            return self._answer_again(transaction.id, json.loads(bound), body_digest.hex())
        self._check_room(0)
        receipt = self._call(transaction, maker, checker)
        self.state.put(key, _binding(receipt, body_digest))
        return receipt

    def _check_replay(self, transaction: AdmittedTransaction) -> None:
        payload = transaction.payload
        if self._was_executed(transaction.id):
            refusal = Refusal("TRANSACTION_DUPLICATE", transaction=transaction.id.hex())
            raise _NoEffect(refusal)
        if payload.expires_height < self._height or payload.expires_time_ms < self._block_time_ms:
            refusal = Refusal(
                "TRANSACTION_EXPIRED",
                expires_height=payload.expires_height,
                height=self._height,
                expires_time_ms=payload.expires_time_ms,
                block_time_ms=self._block_time_ms,
            )
            raise _NoEffect(refusal)

    def _check_predecessor(self, payload: Payload) -> None:
        """Before anything that counts as executed: what follows a request that is only answered
        again, or refused, must not overtake what that one follows.
        """
        if payload.after is not None and not self._was_executed(payload.after):
            refusal = Refusal(PREDECESSOR_MISSING, after=payload.after.hex())
            raise _NoEffect(refusal)

    def _check_room(self, output_bytes: int) -> None:
        """Once something had no room nothing more is tried: it would be executed in vain."""
        self._is_full |= self._output_bytes + output_bytes > BLOCK_OUTPUT_BYTES_MAX
        if self._is_full:
            refusal = Refusal("BLOCK_FULL", maximum=BLOCK_OUTPUT_BYTES_MAX)
            raise _NoEffect(refusal)

    def _was_executed(self, transaction_id: bytes) -> bool:
        return transaction_id in self._executed or self._committed.executed(transaction_id)

    def _answer_again(self, transaction_id: bytes, bound: Json, body_digest: str) -> Receipt:
        match bound:
            case {
                "body": str(first_digest),
                "code": str(code),
                "detail": dict(detail),
                "transaction": str(first),
            }:
                if first_digest != body_digest:
                    refusal = Refusal("REQUEST_ID_REUSED", transaction=first)
                    raise _NoEffect(refusal)
                facts = canonical_json(detail)
                return Receipt(
                    transaction_id, Outcome.REPLAYED, code, facts, bytes.fromhex(first), ()
                )
        raise AssertionError("a request binding of another shape")

    def _call(
        self, transaction: AdmittedTransaction, maker: Party, checker: Party | None
    ) -> Receipt:
        payload = transaction.payload
        context = CallContext(
            chain_id=self._genesis.chain_id,
            destination=self._genesis.destination,
            height=self._height,
            block_time_ms=self._block_time_ms,
            transaction=transaction,
            maker=maker,
            checker=checker,
            verify=self._verify,
        )
        host = LedgerHost(self.state, context, payload.contract)
        try:
            detail = self._run(payload, host)
        except Refusal as refusal:
            code, detail = refusal.code, _detail(refusal)
            return Receipt(transaction.id, Outcome.REFUSED, code, detail, b"", ())
        self._check_room(host.output_bytes)
        self.state.absorb(host.writes)
        self._output_bytes += host.output_bytes
        return Receipt(transaction.id, Outcome.APPLIED, "", detail, b"", tuple(host.events))

    def _run(self, payload: Payload, host: LedgerHost) -> bytes:
        """Call the contract, in Python or in star/1; returns what the receipt tells, or refuses."""
        contract = self._contract(payload.contract)
        if contract is not None:
            call(contract, payload.method, host, payload.body)
            return _NO_DETAIL
        found = find_callable(self.state, payload.contract)
        rules = rules_in_force(self.state)
        self._check_gas(rules)
        called = call_star(host, self._programs, rules, found, payload.method, payload.body)
        self._gas_used += called.gas_used
        if called.refusal is not None:
            raise called.refusal
        return canonical_json(called.facts)

    def _check_gas(self, rules: GasRules) -> None:
        """A call begins only where all that it may use is left of the block's."""
        self._is_full |= self._gas_used + rules.transaction_limit > rules.block_limit
        if self._is_full:
            raise _NoEffect(Refusal("BLOCK_FULL", limit="gas", maximum=rules.block_limit))

    def _contract(self, name: str) -> Contract | None:
        """The active version of one of the chain's own contracts; None for any other name."""
        if name not in self._contracts:
            version = self._genesis.active_version(name, self._height)
            if version is None:
                return None
            contract = self._catalogue.find(name, version)
            assert contract is not None, f"this software lacks {name} version {version}"
            self._contracts[name] = contract
        return self._contracts[name]


def _binding(receipt: Receipt, body_digest: bytes) -> bytes:
    return canonical_json(
        {
            "body": body_digest.hex(),
            "code": receipt.code,
            "detail": json.loads(receipt.detail),
            "transaction": receipt.transaction_id.hex(),
        }
    )


def _detail(refusal: Refusal) -> bytes:
    assert refusal.code, "a refusal without a code would read as accepted"
    try:
        detail = canonical_json(dict(refusal.fields))
    except JsonError as error:
        raise AssertionError(f"the facts of {refusal.code} are not JSON") from error
    if len(detail) > DETAIL_BYTES_MAX:
        return canonical_json({"omitted_bytes": len(detail)})
    return detail
