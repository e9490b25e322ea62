"""The registration of the market's chain of a network on one machine, as its operator states it.

Consensus keys get certificates of the market's own authority, and each signs that it is held. What
such a network does not have, a security assessment above all, is invented and says so.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from guqiao_sdk.gm.certificates import CertificateAuthority
from guqiao_sdk.gm.keyfile import load_private_key
from guqiao_sdk.gm.provider import GmProvider
from guqiao_sdk.gm.sm3 import sm3
from guqiao_sdk.proof.possession import possession_sign_bytes
from guqiao_sdk.proof.quorum import faulty_max
from guqiao_sdk.regions import REGIONS
from guqiao_sdk.working_days import CHINA
from guqiaoctl.network.genesis import remote_chain
from guqiaoctl.network.layout import NODE_DOMAIN, NODE_ENDS, Network
from guqiaoctl.network.parties import ACCOUNTS, ENTITIES, MARKET, OPERATOR, REPLICAS
from services.consensus.domain.contracts.chain_registry.form import PERSON_FUNCTIONS
from services.consensus.domain.ledger.genesis_json import parse_genesis

CERTIFICATE_LIFE: Final = timedelta(days=365)
BACKDATE: Final = timedelta(minutes=10)
INVENTED: Final = "演示，非真实"


def draft_registration(network: Network, provider: GmProvider) -> bytes:
    """The registration as a file that people edit."""
    now = datetime.now(UTC)
    today = now.astimezone(CHINA).date().isoformat()
    trust = remote_chain(network.layout, MARKET)
    genesis = parse_genesis(network.layout.genesis(MARKET).read_bytes())
    own = {"name": OPERATOR.name, "uscc": OPERATOR.uscc}
    value: dict[str, Any] = {
        "chain_id": MARKET,
        "region_code": REGIONS[MARKET],
        "operator": {**own, "did": OPERATOR.did},
        "registration_institution": own,
        "responsible_persons": [
            {
                "function": each,
                "reference": f"vault/{MARKET}/{each.lower()}",
                "digest": sm3(f"{INVENTED} {each}".encode()).hex(),
            }
            for each in PERSON_FUNCTIONS
        ],
        "platform": {
            "name": "guqiao",
            "version": "0.1",
            "vm": "star/1",
            "crypto_suite": "SM2-SM3-SM4",
        },
        "consensus": {
            "protocol": "pbft",
            "n": REPLICAS,
            "f": faulty_max(REPLICAS),
            "block_interval_ms": genesis.parameters.heartbeat_ms,
        },
        "validators": [
            _validator(network, provider, number, now, today) for number in range(REPLICAS)
        ],
        "rpc_endpoints": [
            _endpoint(network, number, node) for number, node in enumerate(NODE_ENDS)
        ],
        "sub_networks": [],
        "network_path": "SFN",
        "object_store_ref": f"bodies/{MARKET}",
        "security_assessment": {
            "assessor": INVENTED,
            "date": today,
            "scope": INVENTED,
            "standards": ["JR/T 0193-2020", "JR/T 0184-2020"],
            "result": "PASS",
            "report_digest": sm3(INVENTED.encode()).hex(),
        },
        "mlps": {"level": 3, "filing_no": INVENTED, "last_test": today},
        "bis_filing": None,
        "data_model_version": "guqiao-1",
        "genesis_hash": trust["genesis_hash"],
        "epoch": trust["epoch"],
        "trusted_header": {
            "height": 0,
            "hash": trust["genesis_hash"],
            "validator_set_hash": genesis.replica_set.hash().hex(),
        },
        "parent_chain_id": None,
        "restart_authorities": trust.get("restart_authorities"),
    }
    return json.dumps(value, ensure_ascii=False, indent=1).encode()


def draft_seal_certificates(network: Network, provider: GmProvider) -> dict[str, bytes]:
    """By account: a certificate for the key by which it signs on the market's chain, PEM."""
    authority, now = _authority(network, provider), datetime.now(UTC)
    found: dict[str, bytes] = {}
    for account in ACCOUNTS:
        if account.organisation.domain == MARKET and MARKET in account.roles:
            key = load_private_key(network.layout.account(MARKET, account.name), provider)
            found[account.name] = authority.issue(
                account.did,
                key.public_key,
                organisation=account.organisation.name,
                common_name=account.name,
                not_before=now - BACKDATE,
                not_after=now + CERTIFICATE_LIFE,
            )
    return found


def _authority(network: Network, provider: GmProvider) -> CertificateAuthority:
    folder = network.layout.authority(MARKET)
    return CertificateAuthority(
        provider,
        (folder / "ca.pem").read_bytes(),
        load_private_key(folder / "ca.key", provider),
    )


def _validator(
    network: Network, provider: GmProvider, number: int, now: datetime, today: str
) -> dict[str, Any]:
    authority, entity = _authority(network, provider), ENTITIES[MARKET][number]
    node = f"{MARKET}-{number}"
    key = load_private_key(network.layout.process(node) / "vote.key", provider)
    certificate = authority.issue(
        entity.member(node),
        key.public_key,
        organisation=entity.name,
        common_name=node,
        not_before=now - BACKDATE,
        not_after=now + CERTIFICATE_LIFE,
    )
    possession = possession_sign_bytes(MARKET, node, key.public_key)
    return {
        "node_id": node,
        "sm2_pubkey": key.public_key.hex(),
        "entity": {
            "name": entity.name,
            "uscc": entity.uscc,
            "type": "enterprise" if number else "operator",
        },
        "cert": certificate.decode(),
        "pop": provider.sign(key, possession).hex(),
        "joined_at": today,
    }


def _endpoint(network: Network, number: int, node: str) -> dict[str, str]:
    """By name, with the port that its GM-TLS end has now: see `Network.reached_at`."""
    url = f"tlcp://{node}{NODE_DOMAIN}:{network.ports[f'{node}.tunnel']}"
    return {"url": url, "node_id": node, "host_id": f"host-{number}", "tls": "TLCP"}
