"""The register of the chains that report to the regulatory chain, and their life cycle (SM-1).

An operator registers its chain with everything that the guideline asks for (G2-10-1); the province
countersigns, the CSRC's technical side reports on the test of its node RPC, and both sides of the
CSRC approve. From then on the light client trusts the registered set, and what it sees of the chain
is held against the registration. What is kept, and which steps there are: see
`chain_registry/standing`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from guqiao_sdk import roles
from guqiao_sdk.personal_data import Search
from guqiao_sdk.proof.certificates import PEM_LENGTH_MAX
from guqiao_sdk.proof.json_values import Json
from services.consensus.domain.contracts.chain_registry import (
    changing,
    ending,
    replacing,
    sealing,
)
from services.consensus.domain.contracts.chain_registry.fields import Fields
from services.consensus.domain.contracts.chain_registry.form import (
    Registration,
    chain_id_of,
    check_clear,
    read_registration,
)
from services.consensus.domain.contracts.chain_registry.judging import (
    judge_registration,
    read_root,
    require_assessment,
)
from services.consensus.domain.contracts.chain_registry.sealing import ROOTS_MAX, fingerprint_of
from services.consensus.domain.contracts.chain_registry.standing import (
    CHAINS,
    NONE,
    Status,
    find,
    move,
    registration_key,
    require_step,
    standing_key,
    status_of,
)
from services.consensus.domain.contracts.chain_registry.steps import (
    called,
    is_provincial,
    kept,
    record_of,
    report_of,
    require_digest,
    require_not_duplicate,
    require_owner,
    require_province,
    signed,
)
from services.consensus.domain.contracts.host import Host, Method, Refusal
from services.consensus.domain.contracts.light_client_registration import (
    LIGHT_CLIENT,
    keep_trust,
    known_trust,
)
from services.consensus.domain.contracts.packets_host import (
    SystemHost,
    hex_bytes,
    require_members,
    require_role,
    system_host,
    text,
    this_chain,
)
from services.consensus.domain.contracts.set_events import warn_of_shares
from services.consensus.domain.contracts.signers import require_csrc, require_operator

NAME: Final = CHAINS
LISTS_FROM: Final = 3
"""The version that asks for revocation lists."""
REPLACES_FROM: Final = 4
"""The version that lets a frozen light client begin anew."""

REASON_LENGTH_MAX: Final = changing.REASON_LENGTH_MAX


@dataclass(frozen=True, slots=True)
class ChainsContract:
    """`chains`. Version 2 finds numbers of persons in whatever digits. Version 3 keeps revocation
    lists and the certificates of keys that seal, and admits no node whose certificate is revoked.
    Version 4 gives a light client that misbehaviour froze another trust.
    """

    version: int = 1
    name: str = NAME

    def methods(self) -> Mapping[str, Method]:
        """For operators, provincial regulators and the CSRC."""
        lists = self.version >= LISTS_FROM
        methods: dict[str, Method] = {
            "trust_root": partial(trust_root, lists=lists),
            "distrust_root": distrust_root,
            "submit": partial(submit, step="submit", lists=lists),
            "resubmit": partial(submit, step="resubmit", lists=lists),
            "give_back": give_back,
            "countersign": countersign,
            "start_test": partial(start_test, lists=lists),
            "report": report,
            "approve": approve,
            "exempt": exempt,
            "update": partial(changing.update, lists=lists),
            "accept_update": partial(changing.accept_update, lists=lists),
            "suspend": changing.suspend,
            "resume": changing.resume,
            "request_deregistration": ending.request_deregistration,
            "consent_deregistration": ending.consent_deregistration,
            "deregister": ending.deregister,
        }
        if lists:
            methods |= {
                "file_certificate": sealing.file_certificate,
                "publish_crl": sealing.publish_crl,
            }
        search = Search.GROUPS if self.version == 1 else Search.ANY_WRITING
        found: dict[str, Method] = {
            name: partial(_called, method, search=search) for name, method in methods.items()
        }
        if self.version >= REPLACES_FROM:  # They search their bodies: a header is no text.
            found |= {
                "propose_client": replacing.propose_client,
                "consent_client": replacing.consent_client,
                "replace_client": replacing.replace_client,
            }
        return found


def _called(method: Method, host: Host, body: Mapping[str, Json], *, search: Search) -> None:
    """Nothing is done with a body that may not stand on chain."""
    check_clear(body, search=search)
    method(host, body)


# --- Registration ---------------------------------------------------------------------------------


def submit(host: Host, body: Mapping[str, Json], *, step: str, lists: bool) -> None:
    """Register a chain, or again what was given back."""
    require_operator(host)
    require_members(body, "", "registration")
    registration = read_registration(body["registration"])
    system, chain = system_host(host), registration.chain_id
    _require_own_step(host, registration, step)
    _require_free(system, registration)
    judge_registration(system, registration, lists=lists)
    require_not_duplicate(host, registration)
    standing = find(host, standing_key(chain))
    version = 1 if standing is None else standing["version"] + 1
    host.put(registration_key(chain, version), record_of(host, registration))
    facts: dict[str, Json] = {"version": version, "digest": registration.digest}
    move(host, chain, step, Status.SUBMITTED, "chain.submitted", **facts)
    warn_of_shares(host, "chain", registration.replica_set, {"chain_id": chain})


def _require_own_step(host: Host, registration: Registration, step: str) -> None:
    chain = registration.chain_id
    if registration.operator_did != host.sender().organisation:
        raise Refusal("CHAIN_OWNER_OTHER", chain=chain, owner=registration.operator_did)
    standing = find(host, standing_key(chain))
    if standing is None:
        require_step(step, NONE)
        return
    if step == "submit":
        raise Refusal("CHAIN_ID_TAKEN", chain=chain, status=status_of(standing))
    _, _, record = called(host, {"chain_id": chain}, step)
    require_owner(host, chain, record["registration"])


def _require_free(host: SystemHost, registration: Registration) -> None:
    """The id is not this chain's, nor one that stands for another genesis here."""
    chain = registration.chain_id
    known = known_trust(host, chain)
    is_other = known is not None and known["genesis_hash"] != registration.value["genesis_hash"]
    if is_other or chain == this_chain(host):
        raise Refusal("CHAIN_ID_TAKEN", chain=chain, status="trusted")


def give_back(host: Host, body: Mapping[str, Json]) -> None:
    """Give a registration back with the reason, as the province or the CSRC."""
    chain, _, record = called(host, body, "give_back", "digest reason")
    if is_provincial(host):
        require_province(host, chain, record["registration"])
    else:
        require_csrc(host)
    require_digest(body, record)
    reason = text(body["reason"], "reason", REASON_LENGTH_MAX)
    move(host, chain, "give_back", Status.RETURNED, "chain.returned", reason=reason)


def countersign(host: Host, body: Mapping[str, Json]) -> None:
    """Countersign as the regulator of the chain's province (G2-05-1)."""
    chain, standing, record = called(host, body, "countersign", "digest")
    require_province(host, chain, record["registration"])
    require_digest(body, record)
    _note(host, chain, standing, record, countersigned=signed(host))
    move(host, chain, "countersign", Status.PROVINCIAL_REVIEWED, "chain.countersigned")


def start_test(host: Host, body: Mapping[str, Json], *, lists: bool) -> None:
    """Begin the conformance test: everything of the registration has to hold now."""
    require_role(host, roles.CSRC_TECH)
    chain, _, record = called(host, body, "start_test", "digest")
    require_digest(body, record)
    judge_registration(system_host(host), kept(record), lists=lists)
    move(host, chain, "start_test", Status.CONFORMANCE, "chain.test_started")


def report(host: Host, body: Mapping[str, Json]) -> None:
    """Report the result of the test, with the digest of its report and what the probes found."""
    require_role(host, roles.CSRC_TECH)
    chain, standing, record = called(host, body, "report", "digest result report probes")
    require_digest(body, record)
    is_passed, found = report_of(host, body, kept(record))
    _note(host, chain, standing, record, report=found)
    target = Status.CONFORMANCE_PASSED if is_passed else Status.CONFORMANCE_FAILED
    facts: dict[str, Json] = {"result": found["result"], "report": found["report"]}
    move(host, chain, "report", target, "chain.tested", **facts)


def approve(host: Host, body: Mapping[str, Json]) -> None:
    """Admit the chain: its set is what the light client starts from."""
    require_csrc(host)
    system = system_host(host)
    chain, standing, record = called(host, body, "approve", "digest")
    require_digest(body, record)
    registration = kept(record)
    _require_free(system, registration)
    require_assessment(system, registration)
    require_not_duplicate(host, registration)
    if known_trust(system, chain) is None:
        trust = registration.trust()
        system.within(LIGHT_CLIENT, lambda: keep_trust(host, trust, restarts=True))
    _note(host, chain, standing, record, approved=signed(host))
    host.put(f"operator/{registration.operator_uscc}/{chain}", {"parent": registration.parent})
    facts: dict[str, Json] = {"digest": registration.digest}
    move(host, chain, "approve", Status.ACTIVE, "chain.approved", **facts)
    changing.compare_now(system, chain)


def _note(
    host: Host, chain: str, standing: Mapping[str, Any], record: Mapping[str, Any], **facts: Json
) -> None:
    host.put(registration_key(chain, standing["version"]), {**record, **facts})


# --- What the CSRC keeps beside -------------------------------------------------------------------


def exempt(host: Host, body: Mapping[str, Json]) -> None:
    """Write down why an operator may have a further independent chain (G2-06-2)."""
    require_csrc(host)
    require_members(body, "", "chain_id operator_uscc reason")
    chain = chain_id_of(body["chain_id"])
    facts: dict[str, Json] = {
        "chain_id": chain,
        "operator_uscc": Fields(body, "").uscc("operator_uscc"),
        "reason": text(body["reason"], "reason", REASON_LENGTH_MAX),
    }
    host.put(f"exemption/{chain}", {**facts, **signed(host)})
    host.emit("chain.exempted", facts)


def trust_root(host: Host, body: Mapping[str, Json], *, lists: bool) -> None:
    """Let certificates count that this authority signs. With `lists`, the certificate that it had
    until then is kept beside a new one.
    """
    require_csrc(host)
    require_members(body, "", "certificate")
    pem = text(body["certificate"], "certificate", PEM_LENGTH_MAX)
    found = read_root(system_host(host), pem)
    fingerprint = fingerprint_of(found)
    if len(host.scan("root/", ROOTS_MAX)) >= ROOTS_MAX:
        raise Refusal("LIMIT_EXCEEDED", limit="roots", maximum=ROOTS_MAX)
    facts: dict[str, Json] = {"fingerprint": fingerprint, "organisation": found.organisation}
    record: dict[str, Json] = {**facts, "certificate": pem, **signed(host)}
    if lists:
        sealing.keep_with_before(host, f"root/{fingerprint}", record)
    else:
        host.put(f"root/{fingerprint}", record)
    host.emit("chain.root_trusted", facts)


def distrust_root(host: Host, body: Mapping[str, Json]) -> None:
    """Let them count no more: for registrations and updates from here on."""
    require_csrc(host)
    require_members(body, "", "fingerprint")
    fingerprint = hex_bytes(body["fingerprint"], "fingerprint", 32).hex()
    if host.get(f"root/{fingerprint}") is None:
        raise Refusal("CHAIN_ROOT_UNKNOWN", fingerprint=fingerprint)
    host.delete(f"root/{fingerprint}")
    host.emit("chain.root_distrusted", {"fingerprint": fingerprint})
