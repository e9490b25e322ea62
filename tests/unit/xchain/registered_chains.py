"""A regulatory chain with the contract `chains`, and an operator that registers its own chain.

Keys and certificates are real SM2: what is shown of certificates and possession is the real thing.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, Final

from guqiao_sdk.gm.certificates import (
    CertificateAuthority,
    RevokedCertificate,
    parse_certificate,
)
from guqiao_sdk.gm.provider import open_provider
from guqiao_sdk.proof.json_values import Json, canonical_json, parse_json_strict
from guqiao_sdk.proof.possession import possession_sign_bytes
from guqiao_sdk.proof.quorum import Member, ReplicaSet
from guqiao_sdk.proof.receipt import Receipt
from guqiao_sdk.working_days import published
from guqiaoctl.network.parties import synthetic_uscc
from services.consensus.domain.contracts.calendar import CalendarContract
from services.consensus.domain.contracts.chain_registry.form import registration_digest
from services.consensus.domain.contracts.chains import ChainsContract
from services.consensus.domain.contracts.host import Contract
from services.consensus.domain.contracts.identity_record import IdentityRecord, KeyRecord
from tests.unit.proof.proof_keys import START_MS, Replicas, Sm2Keys
from tests.unit.xchain.ledger_chain import LedgerChain

KEYS: Final = Sm2Keys(open_provider())
NOW: Final = datetime.fromtimestamp(START_MS / 1000, UTC)
USCC: Final = [synthetic_uscc(500 + number) for number in range(8)]
OPERATOR: Final = f"did:rem:shandong:{USCC[0]}"
CSRC: Final = f"did:rem:csrc:{synthetic_uscc(600)}"
PROVINCE: Final = f"did:rem:shandong:{synthetic_uscc(601)}"
OTHER: Final = f"did:rem:beijing:{synthetic_uscc(602)}"
GENESIS_HASH: Final = "ab" * 32
REASON: Final = "补充材料"


def identity(name: str, organisation: str, *roles: str) -> IdentityRecord:
    did = f"{organisation}.{name}"
    key = KeyRecord(KEYS.public_key(did), 0, 1 << 52, False)
    return IdentityRecord(did, organisation, frozenset(roles), True, {"key-1": key})


MARKET_SIDE: Final = identity("market", CSRC, "csrc_market")
TECH_SIDE: Final = identity("tech", CSRC, "csrc_tech")
ON_DUTY: Final = identity("duty", CSRC, "csrc_tech")
MAKER: Final = identity("maker", OPERATOR, "operator_maker")
CHECKER: Final = identity("checker", OPERATOR, "operator_checker")
REGULATOR: Final = identity("bureau", PROVINCE, "provincial_regulator")
BEIJING_REGULATOR: Final = identity("bureau", OTHER, "provincial_regulator")
BEIJING_MAKER: Final = identity("maker", OTHER, "operator_maker")
BEIJING_CHECKER: Final = identity("checker", OTHER, "operator_checker")
OWN_REGULATOR: Final = identity("bureau", OPERATOR, "provincial_regulator")
EVERYBODY: Final = (
    *(MARKET_SIDE, TECH_SIDE, ON_DUTY, MAKER, CHECKER, REGULATOR),
    *(BEIJING_REGULATOR, BEIJING_MAKER, BEIJING_CHECKER, OWN_REGULATOR),
)
BOTH_SIDES: Final = (MARKET_SIDE, TECH_SIDE)
BY_OPERATOR: Final = (MAKER, CHECKER)


@dataclass(frozen=True)
class Nodes(Replicas):
    """Replicas of four legal entities with credit codes."""

    @property
    def set(self) -> ReplicaSet:
        return ReplicaSet(
            self.chain_id,
            self.epoch,
            tuple(
                Member(index, KEYS.public_key(self.name(index)), USCC[index], f"演示机构{index}")
                for index in range(self.size)
            ),
        )


def nodes(chain: str = "shandong", epoch: int = 0) -> Nodes:
    return Nodes(KEYS, chain, epoch)


@cache
def authority(name: str = "演示国密签发机构") -> CertificateAuthority:
    key = KEYS.provider.keygen()
    return CertificateAuthority.create(
        KEYS.provider,
        key,
        organisation=name,
        common_name="root",
        not_before=NOW - timedelta(days=30),
        not_after=NOW + timedelta(days=3_650),
    )


@cache
def certificate(
    key_name: str, uscc: str, organisation: str, *, issuer: str = "", days: int = 365
) -> str:
    """Of the entity, for the consensus key; with negative `days` one that ended."""
    signer = authority(issuer) if issuer else authority()
    return signer.issue(
        f"did:rem:shandong:{uscc}.node",
        KEYS.public_key(key_name),
        organisation=organisation,
        common_name="node",
        not_before=NOW - timedelta(days=20),
        not_after=NOW + timedelta(days=days),
    ).decode()


def crl(
    *revoked: RevokedCertificate, number: int = 1, issuer: str = "", days: int = 7, since: int = 1
) -> str:
    """The authority's list that began `since` days ago and ends in so many."""
    signer = authority(issuer) if issuer else authority()
    start, end = NOW - timedelta(days=since), NOW + timedelta(days=days)
    pem = signer.issue_crl(revoked, this_update=start, next_update=end, number=number)
    return pem.decode()


def revoked(pem: str, *, days: int = -1) -> RevokedCertificate:
    """The entry of a certificate that was revoked so many days from now."""
    return RevokedCertificate(parse_certificate(pem.encode()).serial, NOW + timedelta(days=days))


def validator(of: Nodes, number: int) -> dict[str, Any]:
    member, name, node_id = of.set.members[number], of.name(number), f"node-{number}"
    message = possession_sign_bytes(of.chain_id, node_id, member.public_key)
    return {
        "node_id": node_id,
        "sm2_pubkey": member.public_key.hex(),
        "entity": {
            "name": member.entity_name,
            "uscc": member.entity_id,
            "type": "operator" if number == 0 else "enterprise",
        },
        "cert": certificate(name, member.entity_id, member.entity_name),
        "pop": KEYS.sign(name, message).hex(),
        "joined_at": "2025-06-01",
    }


@cache
def _registration(chain: str, epoch: int) -> dict[str, Any]:
    of = nodes(chain, epoch)
    return {
        "chain_id": chain,
        "region_code": "SD",
        "operator": {"name": "演示股权交易中心", "uscc": USCC[0], "did": OPERATOR},
        "registration_institution": {"name": "演示登记机构", "uscc": USCC[1]},
        "responsible_persons": [
            {"function": each, "reference": f"vault/{number}", "digest": f"{number + 1:064x}"}
            for number, each in enumerate(("OWNER", "SECURITY_OFFICER", "OPERATIONS_LEAD"))
        ],
        "platform": {
            "name": "guqiao", "version": "1.0", "vm": "star/1", "crypto_suite": "SM2-SM3-SM4",
        },
        "consensus": {"protocol": "pbft", "n": 4, "f": 1, "block_interval_ms": 1_000},
        "validators": [validator(of, number) for number in range(4)],
        "rpc_endpoints": [
            {
                "url": f"https://10.1.0.{number + 1}:8443", "node_id": f"node-{number}",
                "host_id": f"host-{number}", "tls": "TLCP",
            }
            for number in range(2)
        ],
        "sub_networks": [],
        "network_path": "SFN",
        "object_store_ref": "s3://shandong/objects",
        "security_assessment": {
            "assessor": "演示测评机构", "date": "2025-07-01", "scope": "全链",
            "standards": ["JR/T 0193-2020"], "result": "PASS", "report_digest": "5e" * 32,
        },
        "mlps": {"level": 3, "filing_no": "MLPS-1", "last_test": "2025-05-01"},
        "bis_filing": None,
        "data_model_version": "guqiao-1",
        "genesis_hash": GENESIS_HASH,
        "epoch": epoch,
        "trusted_header": {
            "height": 0, "hash": GENESIS_HASH, "validator_set_hash": of.set.hash().hex(),
        },
        "parent_chain_id": None,
        "restart_authorities": None,
    }  # fmt: skip


def registration(chain: str = "shandong", epoch: int = 0, **changes: Any) -> dict[str, Any]:
    return copy.deepcopy(_registration(chain, epoch)) | changes


def with_keys_of(value: dict[str, Any], epoch: int) -> dict[str, Any]:
    """The registration of a later epoch's keys, as an update states it."""
    later = registration(value["chain_id"], epoch)
    trusted = {**later["trusted_header"], "height": 9, "hash": "9c" * 32}
    return {**later, "trusted_header": trusted}


DROPPED: Final = object()


def spoiled(path: str, change: Any, base: Any = None) -> dict[str, Any]:
    """A registration with one thing changed; `DROPPED` takes it away."""
    value: dict[str, Any] = copy.deepcopy(base or registration())
    *steps, last = [int(each) if each.isdigit() else each for each in path.split(".")]
    place: Any = value
    for each in steps:
        place = place[each]
    if change is DROPPED:
        del place[last]
    else:
        place[last] = change(place[last]) if callable(change) else change
    return value


def detail(receipt: Receipt) -> dict[str, Json]:
    """The facts of a refusal."""
    value = parse_json_strict(receipt.detail, depth_max=8, size_max=1 << 20)
    assert isinstance(value, dict)
    return value


@dataclass
class Registry:
    """The regulatory chain, with the operator's chain before it."""

    csrc: LedgerChain
    market: Nodes = field(default_factory=nodes)
    height: int = 0

    @staticmethod
    def make(
        *further: Contract, trusts_root: bool = True, version: int = 1, **changes: Any
    ) -> Registry:
        csrc = LedgerChain(
            "csrc",
            KEYS,
            destination=None,
            remotes=changes.pop("remotes", {}),
            others=EVERYBODY,
            contracts=[CalendarContract(1), ChainsContract(version), *further],
            roles=frozenset({"relayer", "chain_admin"}),
            **changes,
        )
        years = {f"calendar/year/{number}": each for number, each in published().years.items()}
        for key, year in years.items():
            csrc.state.values[key.encode()] = canonical_json({"version": 1, **year.to_json()})
        found = Registry(csrc)
        if trusts_root:
            pem = authority().certificate_pem.decode()
            assert found.act("trust_root", BOTH_SIDES, certificate=pem).accepted
        return found

    def act(self, method: str, who: tuple[IdentityRecord, ...], **body: Any) -> Receipt:
        transaction = self.csrc.transaction("chains", method, body, signers=who)
        return self.csrc.execute(transaction).receipts[0]

    def must(self, method: str, who: tuple[IdentityRecord, ...], **body: Any) -> Receipt:
        receipt = self.act(method, who, **body)
        assert receipt.accepted, (method, receipt.code, receipt.detail)
        return receipt

    def submit(self, value: Any = None, step: str = "submit") -> Receipt:
        return self.act(step, BY_OPERATOR, registration=value or registration())

    def standing(self, chain: str = "shandong") -> dict[str, Any]:
        value = self.csrc.value(f"chains/standing/{chain}")
        assert isinstance(value, dict)
        return value

    def status(self, chain: str = "shandong") -> str:
        return str(self.standing(chain)["status"])

    def record(self, chain: str = "shandong") -> dict[str, Any]:
        version = self.standing(chain)["version"]
        value = self.csrc.value(f"chains/registration/{chain}/{version:020d}")
        assert isinstance(value, dict)
        return value

    def digest(self, chain: str = "shandong") -> str:
        return str(self.record(chain)["digest"])

    def report(self, value: Any = None, **changes: Any) -> dict[str, Any]:
        """A report on a test that was passed."""
        value = value or self.record()["registration"]
        probes = [
            {"url": each["url"], "chain_id": value["chain_id"], "height": 100 + number}
            for number, each in enumerate(value["rpc_endpoints"])
        ]
        return {
            "chain_id": value["chain_id"], "digest": registration_digest(value),
            "result": "PASS", "report": "6f" * 32, "probes": probes,
        } | changes  # fmt: skip

    def bring(self, target: str, value: Any = None) -> Registry:
        """Take a registration through its steps until it has this status."""
        value = value or registration()
        chain = value["chain_id"]
        named = {"chain_id": chain, "digest": registration_digest(value)}
        steps: list[tuple[str, str, tuple[IdentityRecord, ...], dict[str, Any]]] = [
            ("SUBMITTED", "submit", BY_OPERATOR, {"registration": value}),
            ("PROVINCIAL_REVIEWED", "countersign", (REGULATOR,), named),
            ("CONFORMANCE", "start_test", (TECH_SIDE,), named),
            ("CONFORMANCE_PASSED", "report", (TECH_SIDE,), self.report(value)),
            ("ACTIVE", "approve", BOTH_SIDES, named),
        ]
        for status, method, who, body in steps:
            self.must(method, who, **body)
            if status == target:
                return self
        raise AssertionError(target)

    def active(self) -> Registry:
        return self.bring("ACTIVE")

    # --- What a relayer brings of the market's chain ---

    def advance(self, *, changes_set: bool = False) -> Receipt:
        """The next header; with a set change, the first of the next epoch."""
        changes: list[Json] = []
        self.height += 2
        if changes_set:
            following = replace(self.market, epoch=self.market.epoch + 1)
            last = self.market.header(self.height, next_set=following.set)
            changes = [
                {
                    "header": last.encode().hex(),
                    "certificate": self.market.certify(last).encode().hex(),
                    "replica_set": following.set.encode().hex(),
                }
            ]
            self.market, self.height = following, self.height + 2
        header = self.market.header(self.height)
        body: dict[str, Json] = {
            "chain": self.market.chain_id,
            "header": header.encode().hex(),
            "certificate": self.market.certify(header).encode().hex(),
            "set_changes": changes,
        }
        return self.csrc.call("light_client", "update", body)
