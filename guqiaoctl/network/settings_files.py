"""Writes the settings file of every process from the network's plan, anew at every start.

The replicas' at once, the services' when their databases are known.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from guqiaoctl.network.files import SECRET, write_file
from guqiaoctl.network.genesis import KEY_ID
from guqiaoctl.network.layout import Layout, Network
from guqiaoctl.network.parties import CHAINS, CSRC, MARKET, REPLICAS, SERVICES, Account, account
from guqiaoctl.supervisor.process import ProcessPlan

DISK_RESERVE_BYTES: Final = 64 * 1024 * 1024
ROLES: Final = {CSRC: "regulator", MARKET: "market"}
OTHER: Final = {CSRC: MARKET, MARKET: CSRC}


def process_plans(network: Network) -> tuple[tuple[ProcessPlan, ...], ...]:
    """What to start, in groups: the replicas together, then the services together."""
    replicas = [
        (f"{chain}-{number}", "consensus", chain) for chain in CHAINS for number in range(REPLICAS)
    ]
    services = [(f"{domain}-{service}", service, "") for domain, service in SERVICES]
    return tuple(tuple(_plan(network, *row) for row in group) for group in (replicas, services))


def database_names() -> list[str]:
    """Every database: one a service and domain, and one bus a domain."""
    return [f"{domain}_{service}" for domain, service in SERVICES] + [f"{c}_bus" for c in CHAINS]


def write_replica_settings(network: Network) -> None:
    """Write the settings file of every replica, readable by its owner only."""
    for chain in CHAINS:
        for number in range(REPLICAS):
            write_settings(network.layout, f"{chain}-{number}", _replica(network, chain, number))


def write_service_settings(
    network: Network, database_urls: dict[str, str], kafka: Mapping[str, str]
) -> None:
    """Write the settings file of every service, readable by its owner only. `kafka` names the
    brokers of the domains whose bus is not the PostgreSQL event log.
    """
    for domain, service in SERVICES:
        content = _service(network, domain, service, database_urls) | _bus(
            domain, database_urls, kafka
        )
        if service == "gateway":
            content |= _gateway(network, domain)
        elif service == "reporting":
            content["role"] = ROLES[domain]
        elif service == "registry":
            folder = network.layout.process(f"{domain}-{service}").absolute()
            content["identity_key_file"] = str(folder / "identity-digest.key")
            content["body_key_file"] = str(folder / "bodies.key")
        write_settings(network.layout, f"{domain}-{service}", content)


def _plan(network: Network, name: str, service: str, chain: str) -> ProcessPlan:
    config = network.layout.process(name).absolute() / "settings.toml"
    arguments = ("serve", "--supervised", "--config", str(config))
    port, log = network.ports[f"{name}.admin"], network.layout.log(name)
    return ProcessPlan(name, f"services.{service}", arguments, port, log, chain)


def _common(network: Network, name: str, domain: str) -> dict[str, Any]:
    layout = network.layout
    # Only gateways meet another domain: to all others its authority vouches for nobody.
    met = CHAINS if name == f"{domain}-gateway" else (domain,)
    authorities = [
        {
            "domains": [domain],
            "certificate": str(folder / "ca.pem"),
            "crl": str(folder / "crl.pem"),
        }
        for domain, folder in ((d, layout.authority(d).absolute()) for d in met)
    ]
    folder = layout.process(name).absolute()
    return {
        "domain": domain,
        "development": True,
        "grpc": {"port": network.ports[f"{name}.grpc"]},
        "admin": {"port": network.ports[f"{name}.admin"]},
        "telemetry": {"trace_file": str(layout.folder.absolute() / "traces" / f"{name}.jsonl")},
        "gm": {
            "certificate": str(folder / "tls.pem"),
            "key": str(folder / "tls.key"),
            "authorities": authorities,
        },
    }


def _replica(network: Network, chain: str, number: int) -> dict[str, Any]:
    name = f"{chain}-{number}"
    folder = network.layout.process(name).absolute()
    addresses = [network.address(f"{chain}-{other}.peer") for other in range(REPLICAS)]
    submitter = account(chain, f"replica-{number}")
    return _common(network, name, chain) | {
        "chain_id": chain,
        "replica": number,
        "genesis_file": str(network.layout.genesis(chain).absolute()),
        "data_folder": str(folder / "data"),
        "vote_key_file": str(folder / "vote.key"),
        "disk_reserve_bytes": DISK_RESERVE_BYTES,
        "peers": {"port": network.ports[f"{name}.peer"], "addresses": addresses},
        "identity": _identity(network, submitter),
    }


def _service(
    network: Network, domain: str, service: str, database_urls: dict[str, str]
) -> dict[str, Any]:
    owner = account(domain, service)
    return _common(network, f"{domain}-{service}", domain) | {
        "identity": _identity(network, owner),
        "chain": {
            "chain_id": domain,
            "trust_file": str(network.layout.chain_trust(domain).absolute()),
            "endpoints": network.node_endpoints(domain),
        },
        "postgres": {"url": database_urls[f"{domain}_{service}"]},
    }


def _identity(network: Network, owner: Account) -> dict[str, Any]:
    key_file = network.layout.account(owner.organisation.domain, owner.name).absolute()
    return {
        "did": owner.did,
        "key_id": KEY_ID,
        "organisation": owner.organisation.did,
        "key_file": str(key_file),
    }


def _bus(domain: str, database_urls: dict[str, str], kafka: Mapping[str, str]) -> dict[str, Any]:
    bootstrap = kafka.get(domain)
    if bootstrap is None:
        return {"bus": {"kind": "postgres", "database": {"url": database_urls[f"{domain}_bus"]}}}
    return {"bus": {"kind": "kafka", "bootstrap": bootstrap, "replication_factor": 1}}


def _gateway(network: Network, domain: str) -> dict[str, Any]:
    other = OTHER[domain]
    route = {
        "route_port": network.ports[f"{domain}-gateway.route"],
        "tunnel_address": network.address(f"{other}-gateway.tunnel"),
    }
    return {
        "role": ROLES[domain],
        "tunnel": {"port": network.ports[f"{domain}-gateway.tunnel"]},
        "remotes": [
            {
                "chain_id": other,
                "domain": other,
                "expected_peer": f"guqiao:service:{other}/gateway",
                "organisation": account(other, "gateway").organisation.did,
                "trust_file": str(network.layout.chain_trust(other).absolute()),
            }
            | (route if ROLES[domain] == "market" else {})
        ],
    }


def write_settings(layout: Layout, process: str, content: dict[str, Any]) -> Path:
    """Write the settings file of one process, readable by its owner only."""
    path = layout.process(process) / "settings.toml"
    write_file(path, ("\n".join(_toml(content)) + "\n").encode(), SECRET)
    return path


def _toml(content: dict[str, Any], prefix: str = "") -> list[str]:
    """TOML of plain values, nested tables and lists of tables: all that settings need."""
    lines = [f"{key} = {_toml_value(value)}" for key, value in content.items() if _is_plain(value)]
    for key, value in content.items():
        if isinstance(value, dict):
            lines += ["", f"[{prefix}{key}]", *_toml(value, f"{prefix}{key}.")]
        elif not _is_plain(value):
            for item in value:
                lines += ["", f"[[{prefix}{key}]]", *_toml(item, f"{prefix}{key}.")]
    return lines


def _is_plain(value: object) -> bool:
    tables = isinstance(value, list) and bool(value) and isinstance(value[0], dict)
    return not isinstance(value, dict) and not tables


def _toml_value(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, list):
        return "[" + ", ".join(_toml_value(item) for item in value) + "]"
    return '"' + str(value).replace("\\", "\\\\").replace('"', '\\"') + '"'
