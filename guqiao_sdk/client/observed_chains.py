"""What the regulatory chain has recorded of the chains that are read from outside, with proof."""

from __future__ import annotations

from typing import Final

from guqiao_sdk.client.chain import ChainClient
from guqiao_sdk.proof.json_values import Json, parse_json_strict
from guqiao_sdk.proof.observed_state import (
    CONTRACT,
    ObservedClient,
    acknowledgement_key,
    client_key,
    read_client,
)

RECORD_DEPTH_MAX: Final = 8
RECORD_BYTES_MAX: Final = 64 * 1024


async def observed_client(client: ChainClient, chain: str) -> ObservedClient | None:
    """What is believed of a chain at the latest height; None where nobody began to observe it."""
    record = await _recorded(client, client_key(chain))
    return None if record is None else read_client(chain, record)


async def acknowledgement(
    client: ChainClient, chain: str, generation: int, height: int
) -> dict[str, Json] | None:
    """What is recorded of a height: `header_hash`, `transactions_root`, `receipts_root`,
    `block_time_ms`, `sealers_height`, and `recorded_height` of the regulatory chain; or None.
    """
    record = await _recorded(client, acknowledgement_key(chain, generation, height))
    assert record is None or isinstance(record, dict), "the contract wrote it"
    return record


async def _recorded(client: ChainClient, key: str) -> Json | None:
    value = (await client.get_state_proof(f"{CONTRACT}/{key}")).value
    if value is None:
        return None
    return parse_json_strict(value, depth_max=RECORD_DEPTH_MAX, size_max=RECORD_BYTES_MAX)
