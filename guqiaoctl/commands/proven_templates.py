"""Templates and notices as the regulatory chain's state proves them, and the proof for another
chain.
"""

from __future__ import annotations

from dataclasses import dataclass

from guqiao_sdk.client.proven import ProvenState
from guqiao_sdk.gm.provider import open_provider
from guqiao_sdk.proof.json_values import Json
from guqiaoctl.commands.chain_calls import failure, record_of
from guqiaoctl.commands.governance import READERS
from guqiaoctl.network.clients import open_chain, open_identity
from guqiaoctl.network.layout import Network
from guqiaoctl.network.parties import CSRC
from services.consensus.domain.contracts.notice.standing import NOTICES, notice_key
from services.consensus.domain.contracts.template.standing import TEMPLATES, standing_key


@dataclass(frozen=True, slots=True)
class ProvenTemplate:
    """What was written of a version, where it stands, and the latter's proof as `contracts` takes
    it.
    """

    record: dict[str, Json]
    standing: dict[str, Json]
    proof: dict[str, Json]


async def read_proven_template(network: Network, identifier: str, version: int) -> ProvenTemplate:
    """Both at one height; raises `CliError` where nobody wrote this version."""
    provider = open_provider()
    identity = open_identity(network, provider, CSRC, READERS[CSRC])
    async with open_chain(network, provider, CSRC, identity) as client:
        height = (await client.latest()).height
        keys = (f"template/{identifier}/{version:020d}", standing_key(identifier, version))
        record, standing = [
            await client.get_state_proof(f"{TEMPLATES}/{key}", height) for key in keys
        ]
    written, told = record_of(record), record_of(standing)
    if written is None or told is None:
        raise failure("TEMPLATE_UNKNOWN", id=identifier, version=version)
    return ProvenTemplate(written, told, _proof(standing, "standing", told))


async def proven_notice(network: Network, chain: str, number: int) -> dict[str, Json]:
    """A notice of a chain with its proof, as `contracts` takes it; raises `CliError` where there is
    none of this number.
    """
    provider = open_provider()
    identity = open_identity(network, provider, CSRC, READERS[CSRC])
    async with open_chain(network, provider, CSRC, identity) as client:
        height = (await client.latest()).height
        found = await client.get_state_proof(f"{NOTICES}/{notice_key(chain, number)}", height)
    record = record_of(found)
    if record is None:
        raise failure("UPGRADE_NOTICE_UNKNOWN", chain=chain, number=number)
    return _proof(found, "notice", record)


def _proof(found: ProvenState, member: str, value: dict[str, Json]) -> dict[str, Json]:
    return {
        "header": found.header.encode().hex(),
        "certificate": found.certificate.encode().hex(),
        member: value,
        "proof": found.message.proof.hex(),
    }
