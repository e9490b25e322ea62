"""A chain's registration: every field that the guideline asks for, and its check (G2-10-1).

What is said of natural persons is a digest and a reference: their names and telephones lie off the
chain (design section 6), and a row that says more is refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

from guqiao_sdk.gm import sm2
from guqiao_sdk.personal_data import Search, find_personal_data
from guqiao_sdk.proof.canonical import digest
from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.proof.json_values import Json, canonical_json
from guqiao_sdk.proof.quorum import REPLICAS_MAX, Member, ReplicaSet, ReplicaSetError, faulty_max
from guqiao_sdk.proof.restart import RestartAuthorities
from guqiao_sdk.regions import REGIONS, region_of_chain, region_of_did
from services.consensus.domain.contracts.chain_registry.endpoints import Endpoint, read_endpoints
from services.consensus.domain.contracts.chain_registry.fields import Fields, invalid
from services.consensus.domain.contracts.host import Refusal

REQUIRED: Final = (
    "chain_id region_code operator registration_institution platform consensus validators "
    "rpc_endpoints network_path object_store_ref security_assessment mlps data_model_version "
    "genesis_hash trusted_header"
)
PRESENT: Final = (
    "epoch responsible_persons sub_networks bis_filing parent_chain_id restart_authorities"
)
"""Members that have to stand there, even where there is nothing to say."""

BFT_PROTOCOLS: Final = frozenset(
    {"pbft", "rpbft", "tbft", "smartbft", "ibft", "qbft", "hotstuff", "tendermint"}
)
CRYPTO_SUITES: Final = frozenset({"SM2-SM3-SM4"})
PERSON_FUNCTIONS: Final = ("OWNER", "SECURITY_OFFICER", "OPERATIONS_LEAD")
ENTITY_TYPES: Final = frozenset(
    {"operator", "government", "public_institution", "financial_institution", "enterprise"}
)
STANDARDS: Final = frozenset({"JR/T 0193-2020", "JR/T 0184-2020", "MLPS"})
BYTES_MAX: Final = 1_000_000
ROWS_MAX: Final = 32
_CHAIN: Final = re.compile(r"[a-z]{2,20}(?:-[a-z0-9_]{1,11})?")
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")
_REFERENCE: Final = re.compile(r"[a-z0-9][A-Za-z0-9:/._-]{2,199}")
_DID: Final = re.compile(r"did:rem:[a-z]{2,20}:[0-9A-Z]{18}")
_POINT: Final = re.compile(r"04[0-9a-f]{128}")
_SIGNATURE: Final = re.compile(r"[0-9a-f]{128}")
_PERSON: Final = frozenset({"function", "reference", "digest"})
_UNSEARCHED: Final = frozenset({"registration", "certificate"})
"""Members of bodies that are searched otherwise, or are a certificate."""


@dataclass(frozen=True, slots=True)
class Validator:
    """A consensus node: its key, the entity behind it, and what shows that both are so."""

    node_id: str
    public_key: bytes
    entity_name: str
    entity_uscc: str
    certificate: str
    possession: bytes


@dataclass(frozen=True, slots=True)
class Registration:
    """What of a registration is asked for after its form was found good."""

    value: Mapping[str, Json]
    chain_id: str
    region: str
    operator_uscc: str
    operator_did: str
    parent: str | None
    validators: tuple[Validator, ...]
    replica_set: ReplicaSet
    endpoints: tuple[Endpoint, ...]
    assessed: date
    passed: bool

    @property
    def digest(self) -> str:
        """What reviewers sign for."""
        return registration_digest(self.value)

    def trust(self) -> dict[str, Json]:
        """What the light client starts from."""
        members: list[Json] = [
            {
                "entity_id": each.entity_uscc,
                "entity_name": each.entity_name,
                "vote_key": each.public_key.hex(),
            }
            for each in self.validators
        ]
        value = self.value
        trust: dict[str, Json] = {
            "chain_id": self.chain_id,
            "genesis_hash": value["genesis_hash"],
            "epoch": value["epoch"],
            "replicas": members,
        }
        if value["restart_authorities"] is not None:
            trust["restart_authorities"] = value["restart_authorities"]
        return trust


def registration_digest(value: Mapping[str, Json]) -> str:
    """The digest of a registration in hex."""
    return digest("guqiao/chain-registration/1", canonical_json(dict(value))).hex()


def read_registration(value: Json) -> Registration:
    """Read a registration. Raises `Refusal`, naming the field.

    Certificates, possession and the age of the assessment are judged by `judging`.
    """
    _check_bounds(value)
    form = Fields.of(value, "", REQUIRED, PRESENT)
    chain_id, region = _identity(form)
    operator = form.part("operator", "name uscc did")
    operator.text("name")
    uscc, did = operator.uscc("uscc"), operator.matching("did", _DID)
    if did.rpartition(":")[2] != uscc:
        raise operator.wrong("did", "not of the operator's credit code")
    if region_of_did(did) != region:
        raise Refusal("CHAIN_PROVINCE_OTHER", chain=chain_id, province=region_of_did(did))
    institution = form.part("registration_institution", "name uscc")
    institution.text("name")
    institution.uscc("uscc")
    _check_persons(form)
    _check_platform(form)
    validators = _validators(form)
    replica_set = _replica_set(form, chain_id, validators)
    _check_consensus(form, len(validators))
    endpoints = read_endpoints(form)
    assessed, passed = _assessment(form)
    _check_rest(form, replica_set)
    return Registration(
        value=form.values,
        chain_id=chain_id,
        region=region,
        operator_uscc=uscc,
        operator_did=did,
        parent=_parent(form, chain_id),
        validators=validators,
        replica_set=replica_set,
        endpoints=endpoints,
        assessed=assessed,
        passed=passed,
    )


def check_clear(body: Mapping[str, Json], *, search: Search) -> None:
    """Refuse a body of any step that says of a person what may not stand on a chain. It is bounded
    first, for the search takes its time.
    """
    _check_bounds(dict(body))
    _check_persons_clear(body.get("registration"), search)
    rest = {name: each for name, each in body.items() if name not in _UNSEARCHED}
    _search(rest, search)


def _check_persons_clear(value: Json, search: Search) -> None:
    if not isinstance(value, dict):
        return
    persons = value.get("responsible_persons")
    for number, row in enumerate(persons if isinstance(persons, list) else []):
        odd = sorted(row.keys() - _PERSON) if isinstance(row, dict) else ["*"]
        if odd:
            place = f"$.responsible_persons[{number}].{odd[0][:64]}"
            raise Refusal("TIER_NONPUBLIC_ONCHAIN", kind="PERSON", place=place)
    rest = {name: each for name, each in value.items() if name != "validators"}
    _search(rest, search)


def _search(clear: Json, search: Search) -> None:
    found = find_personal_data(clear, search=search)
    if found is not None:
        raise Refusal("TIER_NONPUBLIC_ONCHAIN", kind=found.kind.value, place=found.path)


def chain_id_of(value: Json) -> str:
    """The id of a chain: a region's name, or one that begins with it and a hyphen."""
    if value in (None, ""):
        raise Refusal("CHAIN_FIELD_MISSING", field="chain_id")
    if not isinstance(value, str) or _CHAIN.fullmatch(value) is None:
        raise invalid("chain_id", f"not of the form {_CHAIN.pattern}")
    if region_of_chain(value) not in REGIONS:
        raise Refusal("CHAIN_REGION_UNKNOWN", chain=value, region=region_of_chain(value))
    return value


def _check_bounds(value: Json) -> None:
    if len(canonical_json(value)) > BYTES_MAX:
        raise Refusal("LIMIT_EXCEEDED", limit="registration_bytes", maximum=BYTES_MAX)


def _identity(form: Fields) -> tuple[str, str]:
    chain_id = chain_id_of(form.values["chain_id"])
    region = region_of_chain(chain_id)
    letters = form.text("region_code")
    if letters != REGIONS[region]:
        raise Refusal("CHAIN_REGION_UNKNOWN", chain=chain_id, region=letters)
    return chain_id, region


def _parent(form: Fields, chain_id: str) -> str | None:
    parent = form.values["parent_chain_id"]
    if parent is None:
        return None
    if not isinstance(parent, str) or parent == chain_id or not _CHAIN.fullmatch(parent):
        raise form.wrong("parent_chain_id", "not the id of another chain")
    return parent


def _check_persons(form: Fields) -> None:
    """Somebody is named for each function, by reference and digest (G2-05-3)."""
    if form.values["responsible_persons"] in (None, ""):
        raise Refusal("RESPONSIBLE_PERSON_MISSING", function=PERSON_FUNCTIONS[0])
    # As the first version took it: what is registered is read again by every later one.
    persons: Json = {"responsible_persons": form.values["responsible_persons"]}
    _check_persons_clear(persons, Search.GROUPS)
    named: set[str] = set()
    for number, value in enumerate(form.array("responsible_persons", ROWS_MAX)):
        path = f"responsible_persons[{number}]."
        row: Mapping[str, Any] = value if isinstance(value, dict) else {}
        if not all(row.get(name) for name in sorted(_PERSON)):
            function = str(row.get("function") or PERSON_FUNCTIONS[0])[:64]
            raise Refusal("RESPONSIBLE_PERSON_MISSING", function=function)
        fields = Fields(row, path)
        named.add(fields.choice("function", PERSON_FUNCTIONS))
        fields.matching("reference", _REFERENCE)
        fields.digest("digest")
    for function in PERSON_FUNCTIONS:
        if function not in named:
            raise Refusal("RESPONSIBLE_PERSON_MISSING", function=function)


def _check_platform(form: Fields) -> None:
    platform = form.part("platform", "name version vm crypto_suite")
    for name in ("name", "version", "vm"):
        platform.text(name)
    suite = platform.text("crypto_suite")
    if suite not in CRYPTO_SUITES:
        raise Refusal("ALG_NOT_GM", algorithm=suite)


def _validators(form: Fields) -> tuple[Validator, ...]:
    rows = form.rows("validators", "node_id sm2_pubkey entity cert pop joined_at", REPLICAS_MAX)
    found: list[Validator] = []
    for row in rows:
        entity = row.part("entity", "name uscc type")
        entity.choice("type", ENTITY_TYPES)
        row.day("joined_at")
        found.append(
            Validator(
                node_id=row.matching("node_id", _NAME),
                public_key=bytes.fromhex(row.matching("sm2_pubkey", _POINT)),
                entity_name=entity.text("name", 128),
                entity_uscc=entity.uscc("uscc"),
                certificate=row.text("cert", 8_192),
                possession=bytes.fromhex(row.matching("pop", _SIGNATURE)),
            )
        )
        if not sm2.is_public_key(found[-1].public_key):
            raise row.wrong("sm2_pubkey", "not a point of the SM2 curve")
    if len({each.node_id for each in found}) < len(found):
        raise form.wrong("validators", "two nodes have one id")
    return tuple(found)


def _replica_set(form: Fields, chain_id: str, validators: tuple[Validator, ...]) -> ReplicaSet:
    members = tuple(
        Member(number, each.public_key, each.entity_uscc, each.entity_name)
        for number, each in enumerate(validators)
    )
    replica_set = ReplicaSet(chain_id, form.number("epoch", 0), members)
    try:
        replica_set.check()
    except ReplicaSetError as error:
        raise Refusal(error.code, chain=chain_id, detail=error.detail) from error
    return replica_set


def _check_consensus(form: Fields, count: int) -> None:
    consensus = form.part("consensus", "protocol n f block_interval_ms")
    protocol = consensus.text("protocol")
    if protocol not in BFT_PROTOCOLS:
        raise Refusal("CONSENSUS_NOT_BFT", protocol=protocol, allowed=[*sorted(BFT_PROTOCOLS)])
    if consensus.number("n", 1) != count:
        raise consensus.wrong("n", f"{count} keys are listed")
    if consensus.number("f", 0) != faulty_max(count):
        raise consensus.wrong("f", f"of {count} nodes {faulty_max(count)} may be faulty")
    consensus.number("block_interval_ms", 1, 3_600_000)


def _assessment(form: Fields) -> tuple[date, bool]:
    """The day of the security assessment, and whether it was passed (G2-06-3)."""
    row = form.part("security_assessment", "assessor date scope standards result report_digest")
    row.text("assessor")
    row.text("scope")
    row.digest("report_digest")
    for standard in row.array("standards", ROWS_MAX):
        if not isinstance(standard, str) or standard not in STANDARDS:
            raise row.wrong("standards", f"none of {', '.join(sorted(STANDARDS))}")
    return row.day("date"), row.choice("result", ("PASS", "FAIL")) == "PASS"


def _check_rest(form: Fields, replica_set: ReplicaSet) -> None:
    mlps = form.part("mlps", "level filing_no last_test")
    mlps.number("level", 1, 5)
    mlps.text("filing_no")
    mlps.day("last_test")
    if form.values["bis_filing"] is not None:
        filing = form.part("bis_filing", "filing_no date")
        filing.text("filing_no")
        filing.day("date")
    for name in ("object_store_ref", "data_model_version"):
        form.text(name)
    for each in form.array("sub_networks", ROWS_MAX):
        if not isinstance(each, str) or _NAME.fullmatch(each) is None:
            raise form.wrong("sub_networks", f"not of the form {_NAME.pattern}")
    if form.values["restart_authorities"] is not None:
        try:
            RestartAuthorities.from_json(form.values["restart_authorities"])
        except ProofError as error:
            raise form.wrong("restart_authorities", error.detail) from error
    _check_trusted(form, replica_set)


def _check_trusted(form: Fields, replica_set: ReplicaSet) -> None:
    """The header that the operator names is of this genesis and this set."""
    genesis_hash = form.digest("genesis_hash")
    trusted = Fields.of(
        form.values["trusted_header"], "trusted_header.", "hash validator_set_hash", "height"
    )
    if trusted.number("height", 0) == 0 and trusted.digest("hash") != genesis_hash:
        raise trusted.wrong("hash", "height 0 is the genesis")
    trusted.digest("hash")
    if trusted.digest("validator_set_hash") != replica_set.hash().hex():
        raise trusted.wrong("validator_set_hash", "not the hash of the validators' set")
