"""Makes the recorded bytes of every bus event: `python -m tests.contract.recordings`.

A recording is made once and kept: what consumers must still read after the code that wrote it has
changed. Make a new one, under a new name, only when an event's form changes on purpose.
"""

from __future__ import annotations

import json
from pathlib import Path

from guqiao_sdk.client.events import block_certified
from services.registry.events import OPERATION_TOPIC, operation_submitted
from tests.plugins.market_ledger import market_ledger
from tests.unit.proof.proof_keys import FakeKeys
from tests.unit.xchain.ledger_chain import (
    LedgerChain,
    make_pair,
    receive_body,
    sent_packets,
    update_body,
)

FOLDER = Path(__file__).parent / "recordings"


def record() -> dict[str, bytes]:
    """The bytes of every event, by the name of its file."""
    keys = FakeKeys()
    market = market_ledger(keys, "market-basic", events_max=12).chain
    shandong, csrc = make_pair(keys)
    sent = shandong.call("reports", "report", {"count": 2, "broken": False})
    csrc.call("light_client", "update", update_body(shandong))
    csrc.call("packets", "receive", receive_body(shandong, sent_packets(sent)))
    csrc.call(
        "services",
        "register_service",
        {
            "name": "credit-report",
            "description": "A report on the credit of a company, made on demand.",
            "interface": {"openapi": "3.1.0"},
            "permission": ["report:read"],
            "endpoint": "grpcs://services.example:443/credit",
        },
    )
    files: dict[str, bytes] = {}
    for name, chain in (("market", market), ("link", shandong), ("regulator", csrc)):
        files |= _blocks(name, chain)
    operation = operation_submitted(bytes(range(32)))
    facts = {"topic": OPERATION_TOPIC, "key": operation.key, "event_id": operation.event_id}
    files["registry.operation.v1.bin"] = operation.payload
    files["registry.operation.v1.json"] = json.dumps(facts).encode()
    return files


def _blocks(name: str, chain: LedgerChain) -> dict[str, bytes]:
    """The blocks of one chain, each as the publisher announces it, behind its length."""
    content = b""
    for height in chain.blocks:
        event = block_certified(chain.header.chain_id, height, chain.block_message(height))
        content += len(event.payload).to_bytes(4, "big") + event.payload
    return {f"consensus.block.v1.{name}.bin": content}


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, content in record().items():
        (FOLDER / name).write_bytes(content)
