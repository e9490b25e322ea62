"""What the own chain's register says of another chain: whether it is let in, and who operates it.

A chain that keeps no register, or in which nobody registered the other chain, says nothing: there
the settings alone say with whom a link is.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import Final

from guqiao_sdk.client.chain import ChainClient
from guqiao_sdk.errors import GuqiaoError
from services.gateway.domain.errors import ChainNotAdmittedError, OtherOrganisationError

SHUT_OUT: Final = frozenset({"SUSPENDED", "DEREGISTERED"})
IN_FORCE: Final = frozenset({"ACTIVE", "STALE", "MIGRATING"})
ASKED_EVERY_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True)
class Registered:
    """How a chain stands in the register: its status, and its operator's DID while it is in force
    and let in; empty otherwise.
    """

    status: str
    operator: str


async def registered(client: ChainClient, chain: str) -> Registered | None:
    """What the own chain's state proves of a chain's registration now; None where it has none.
    Raises what `ChainClient` raises.
    """
    record = (await client.get_state_proof(f"chains/standing/{chain}")).value
    if record is None:
        return None
    standing = json.loads(record)
    status = str(standing["status"])
    if status not in IN_FORCE:
        return Registered(status, "")
    key = f"chains/registration/{chain}/{standing['version']:020d}"
    stated = (await client.get_state_proof(key)).value
    assert stated is not None, "a standing names a version that is kept"
    return Registered(status, str(json.loads(stated)["registration"]["operator"]["did"]))


@dataclass(slots=True)
class Admission:
    """Of the gateway of `organisation` that fetches for `chain`, asked of the register when it
    begins and again and again while it goes on.
    """

    client: ChainClient
    chain: str
    organisation: str
    _asked_at: float | None = field(default=None, init=False)

    async def require(self) -> None:
        """Raise `ChainNotAdmittedError` where the chain is suspended or deregistered, and
        `OtherOrganisationError` where its registration in force names another operator. It is not
        asked again within 10 s.
        """
        now = asyncio.get_running_loop().time()
        if self._asked_at is not None and now - self._asked_at < ASKED_EVERY_SECONDS:
            return
        found = await registered(self.client, self.chain)
        if found is not None and found.status in SHUT_OUT:
            raise ChainNotAdmittedError(self.chain, found.status)
        if found is not None and found.operator not in ("", self.organisation):
            raise OtherOrganisationError(self.organisation)
        self._asked_at = now

    async def require_if_known(self) -> None:
        """As `require`, where the own chain has a block: before, nothing is registered, and there
        is nothing to fetch.
        """
        try:
            await self.require()
        except GuqiaoError as error:
            if error.code != "HEIGHT_UNKNOWN":
                raise
