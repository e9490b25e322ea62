"""What the demonstration shows of the market's registration: where it stands on the regulatory
chain, whose certificates stand for its seals, and that its nodes pass the test in whole.

The chain's first test had no data object to ask for; after the import there is one.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from guqiao_sdk.gm.keyfile import load_private_key
from guqiao_sdk.gm.provider import GmProvider
from guqiaoctl.commands.chain_calls import proven_record
from guqiaoctl.commands.chain_registry import read_registered
from guqiaoctl.commands.conformance import examined, subject_of
from guqiaoctl.commands.conformance_links import registered_endpoints
from guqiaoctl.commands.registering import SEALERS
from guqiaoctl.demo.failure import DemoError
from guqiaoctl.network.clients import open_chain, open_identity
from guqiaoctl.network.files import write_file
from guqiaoctl.network.layout import Network
from guqiaoctl.network.parties import CSRC, MARKET
from guqiaoctl.output import choose, say
from services.consensus.domain.contracts.chain_registry.form import read_registration
from services.consensus.domain.contracts.chain_registry.sealing import seal_key
from services.consensus.domain.contracts.chain_registry.standing import CHAINS, Status


@dataclass(frozen=True, slots=True)
class Filed:
    """The certificates of keys that seal, as the regulatory chain proves them: keys in hex, PEM by
    account.
    """

    keys: frozenset[str]
    certificates: dict[str, str]

    def written_to(self, folder: Path) -> list[Path]:
        """A file each, for an offline verification."""
        paths = []
        for name, pem in self.certificates.items():
            paths.append(folder / f"seal-{name}.pem")
            write_file(paths[-1], pem.encode("ascii"))
        return paths


async def filed_certificates(network: Network, provider: GmProvider) -> Filed:
    """Those of the accounts that seal; raises `DemoError` where one has none."""
    supervisor = open_identity(network, provider, CSRC, "supervisor")
    certificates, keys = dict[str, str](), set[str]()
    async with open_chain(network, provider, CSRC, supervisor) as client:
        height = (await client.latest()).height
        for name in SEALERS:
            key = load_private_key(network.layout.account(MARKET, name), provider).public_key
            record = await proven_record(client, f"{CHAINS}/{seal_key(MARKET, key)}", height)
            if record is None:
                raise DemoError(f"no certificate is filed for the seals of {name}")
            certificates[name] = str(record["certificate"])
            keys.add(key.hex())
    return Filed(frozenset(keys), certificates)


async def show_registration(network: Network, provider: GmProvider) -> dict[str, Any]:
    """Where the registration stands, proven, and who took its steps; raises `DemoError` unless it
    is in force and the registered nodes pass every check of conformance.
    """
    found = await read_registered(network, MARKET)
    if found is None or found["standing"]["status"] != Status.ACTIVE:
        raise DemoError(f"the registration of {MARKET} is not in force: {found}")
    record = found["registration"]
    registration = read_registration(record["registration"])
    nodes = registered_endpoints(registration, network)
    examination = await examined(network, provider, subject_of(registration), nodes)
    if not examination.passed:
        wrong = ", ".join(f"{each.check} {each.code}" for each in examination.findings if each.code)
        raise DemoError(f"the registered nodes do not pass: {wrong}")
    say(
        choose(
            f"the registration of {MARKET} is in force, and its {len(nodes)} registered nodes pass"
            f" all {len(examination.findings)} checks over GM-TLS",
            f"{MARKET} 链的登记已生效，{len(nodes)} 个登记节点经国密链路通过全部"
            f" {len(examination.findings)} 项检查",
        )
    )
    return {
        "status": found["standing"]["status"],
        "version": found["standing"]["version"],
        "digest": record["digest"],
        "countersigned_by": record["countersigned"]["by"],
        "approved_by": [record["approved"]["by"], record["approved"]["checker"]],
        "nodes_probed": len(record["report"]["probes"]),
        "checks_passed": len(examination.findings),
    }
