"""The adapter for chains of our own kind, over their node RPC: `ChainClient` asks and judges."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from guqiao_sdk.client.chain import ChainClient
from guqiao_sdk.errors import GuqiaoError, NotFoundError, OutcomeUnknownError, UnavailableError
from guqiao_sdk.proof.canonical import Writer
from guqiao_sdk.proof.receipt import Outcome
from guqiao_sdk.proof.transaction import parse_payload
from services.gateway.observed.errors import (
    ItemUnknownError,
    NodeRefusedError,
    NodeUnavailableError,
)
from services.gateway.observed.port import ObservedHeader, ObservedStatus, ObservedTransaction


class GuqiaoObserved:
    """An `ObservedChain`; the client's signer is the regulator's own identity as a reader."""

    def __init__(self, client: ChainClient) -> None:
        self._client = client

    @property
    def chain_id(self) -> str:
        """The chain's id."""
        return self._client.chain_id

    async def status(self) -> ObservedStatus:
        """Where some replica says that it stands."""
        with _as_of_any_chain():
            told = await self._client.get_status()
        return ObservedStatus(
            height=told.height,
            header_hash=told.header_hash,
            is_catching_up=told.catching_up or told.restoring,
            voters=len(told.peers) + 1,
        )

    async def header(self, height: int = 0) -> ObservedHeader:
        """The header of a height (0: the latest certified one), verified."""
        with _as_of_any_chain():
            header, certificate = await self._client.get_header(height)
            members = (await self._client.sets.set_of(header.encode())).members
        return ObservedHeader(
            height=header.height,
            header_hash=header.hash(),
            parent=header.parent,
            time_ms=header.block_time_ms,
            transactions_root=header.transactions_root,
            receipts_root=header.receipts_root,
            signers=tuple(members[each].public_key[1:] for each, _ in certificate.signatures),
            proof=bytes(Writer().blob(header.encode()).blob(certificate.encode())),
        )

    async def transactions(self, height: int) -> tuple[bytes, ...]:
        """The ids of all transactions of a block, in order and without gaps."""
        with _as_of_any_chain():
            block = await self._client.get_block(height)
        return tuple(transaction.id() for transaction in block.transactions)

    async def transaction(self, transaction_id: bytes) -> ObservedTransaction:
        """A transaction and what came of it, verified."""
        with _as_of_any_chain():
            proven = await self._client.get_transaction(transaction_id)
        payload = parse_payload(proven.transaction.payload)
        return ObservedTransaction(
            transaction_id=transaction_id,
            height=proven.header.height,
            index=proven.result.index,
            sender=payload.maker[0],
            target=f"{payload.contract}.{payload.method}",
            body=proven.transaction.payload,
            succeeded=proven.receipt.outcome is not Outcome.REFUSED and not proven.receipt.code,
            outcome=proven.receipt.code,
            result=proven.receipt.encode(),
            proof=proven.message.SerializeToString(),
        )

    async def close(self) -> None:
        """Close the client."""
        await self._client.close()


@contextmanager
def _as_of_any_chain() -> Iterator[None]:
    """The client's errors as those of every observed chain. The code of our own kind is kept in the
    detail.
    """
    try:
        yield
    except NotFoundError as error:
        raise ItemUnknownError from error
    except (UnavailableError, OutcomeUnknownError) as error:
        raise NodeUnavailableError(error.code or error.facts.message) from error
    except GuqiaoError as error:
        raise NodeRefusedError(0, error.code or error.facts.message) from error
