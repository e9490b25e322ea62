"""States other keys for the market's chain of a network, whose registration is in force."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from guqiao_sdk.gm.certificates import CertificateAuthority
from guqiao_sdk.gm.keyfile import load_private_key
from guqiao_sdk.gm.provider import PrivateKey, open_provider
from guqiao_sdk.proof.possession import possession_sign_bytes
from guqiao_sdk.proof.quorum import Member, ReplicaSet
from guqiaoctl.network.parties import MARKET
from tests.end_to_end.harness import OneMachine


def state_next_set(
    machine: OneMachine,
    keys: Mapping[int, PrivateKey],
    folder: Path,
    entities: Mapping[int, tuple[str, str]] | None = None,
) -> None:
    """State, as the operator, the set of epoch 1 with these keys by replica, and report its probes:
    it is in force as soon as it signs. `entities`: name and credit code of those that came anew.
    """
    shown = machine.must("chain", "show", MARKET, "-o", "json").json()
    value: dict[str, Any] = shown["registration"]["registration"]
    for number, key in keys.items():
        row = value["validators"][number]
        name, uscc = (entities or {}).get(number, (row["entity"]["name"], row["entity"]["uscc"]))
        row["entity"] |= {"name": name, "uscc": uscc}
        row |= proven(machine, row["node_id"], key, name, uscc)
    members = tuple(
        Member(
            number,
            bytes.fromhex(row["sm2_pubkey"]),
            row["entity"]["uscc"],
            row["entity"]["name"],
        )
        for number, row in enumerate(value["validators"])
    )
    own_hash = ReplicaSet(MARKET, 1, members).hash().hex()
    value |= {
        "epoch": 1,
        "trusted_header": {"height": 1, "hash": "9c" * 32, "validator_set_hash": own_hash},
    }
    (folder / "next-set.json").write_text(json.dumps(value), encoding="utf-8")
    machine.must("chain", "update", folder / "next-set.json")
    machine.must("chain", "accept-update", MARKET, *probes_of(value, folder))


def proven(machine: OneMachine, node: str, key: PrivateKey, name: str, uscc: str) -> dict[str, str]:
    """A key's certificate of the market's own authority, and the proof of holding it."""
    provider, folder = open_provider(), machine.network.layout.authority(MARKET)
    authority = CertificateAuthority(
        provider, (folder / "ca.pem").read_bytes(), load_private_key(folder / "ca.key", provider)
    )
    now = datetime.now(UTC)
    certificate = authority.issue(
        f"did:rem:{MARKET}:{uscc}.{node}",
        key.public_key,
        organisation=name,
        common_name=node,
        not_before=now - timedelta(minutes=5),
        not_after=now + timedelta(days=30),
    )
    message = possession_sign_bytes(MARKET, node, key.public_key)
    return {
        "sm2_pubkey": key.public_key.hex(),
        "cert": certificate.decode(),
        "pop": provider.sign(key, message).hex(),
    }


def probes_of(value: dict[str, Any], folder: Path) -> list[object]:
    """The options of a report on a test that was passed."""
    probes = [
        {"url": each["url"], "chain_id": MARKET, "height": 7} for each in value["rpc_endpoints"]
    ]
    (folder / "probes.json").write_text(json.dumps(probes), encoding="utf-8")
    (folder / "report").write_text("全部通过", encoding="utf-8")
    return ["--report", folder / "report", "--probes", folder / "probes.json"]
