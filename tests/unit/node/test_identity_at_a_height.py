"""`GetIdentity` tells the height at which the record was read, whatever is written meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import cast

import pytest

from guqiao.consensus.v1 import node_service_pb2 as node
from guqiao_sdk.proof.json_values import canonical_json
from services.consensus.api import NodeApi
from services.consensus.domain.contracts.identity_record import IdentityRecord, identity_key
from services.consensus.domain.contracts.key_uses import IDENTITY
from services.consensus.domain.ledger.keys import contract_key

DID = "did:rem:shandong:91370000DEMO000000.a"
RECORD = IdentityRecord(
    DID, "did:rem:shandong:91370000DEMO000000", frozenset({"observer"}), True, {}
)


class Store:
    """Its writer commits a block as soon as a snapshot is closed."""

    def __init__(self) -> None:
        self.last_height = 4

    @contextmanager
    def state_reader(self) -> Iterator[SimpleNamespace]:
        state = {contract_key(IDENTITY, identity_key(DID)): canonical_json(RECORD.to_json())}
        header = SimpleNamespace(height=self.last_height)
        yield SimpleNamespace(get=state.get, last_header=header)
        self.last_height += 1


@pytest.mark.req("G2-13-2")
async def test_the_height_is_that_of_the_state_that_was_read() -> None:
    api = cast(NodeApi, SimpleNamespace(ledger=SimpleNamespace(store=Store())))
    found = await NodeApi.GetIdentity(api, node.GetIdentityRequest(did=DID), None)
    assert (found.did, list(found.roles), found.height) == (DID, ["observer"], 4)
