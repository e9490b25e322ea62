"""What a deployment brings beside its code: the template, its standing, tests and a risk review.

The template's standing is proven from the regulatory chain's certified state, never told
(G2-08-7): a deployment and each approval of it bring a proof, so what takes effect was in force
within `STANDING_AGE_MS_MAX`. On the regulatory chain itself it is read. Tests and risk review are
signed for by a second person (G2-16-5, G2-16-6). From version 4 of `contracts` on the report also
names the static analysis of the form, and the run of it on a test network: who signs vouches that
both are what they are said to be, for this chain sees neither.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

from guqiao_sdk import roles
from guqiao_sdk.proof.canonical import MalformedError
from guqiao_sdk.proof.json_values import Json
from guqiao_sdk.proof.state_proof import StateProof
from services.consensus.domain.contracts.deployed import (
    BY_LIFE_CYCLE,
    BY_RELEASE,
    DEPLOYER,
    NamedTemplate,
)
from services.consensus.domain.contracts.host import Host, Refusal
from services.consensus.domain.contracts.light_client import certified_header
from services.consensus.domain.contracts.packets import PROOF_BYTES_MAX, verify_or_refuse
from services.consensus.domain.contracts.packets_host import (
    SystemHost,
    hex_bytes,
    natural,
    require_members,
    system_host,
    text,
)
from services.consensus.domain.contracts.signers import require_second
from services.consensus.domain.contracts.star.ir import Module
from services.consensus.domain.contracts.template.life_cycle import LifeCycle
from services.consensus.domain.contracts.template.model import FORMAT_2, Template
from services.consensus.domain.contracts.template.standing import (
    IN_FORCE,
    NONE,
    TEMPLATES,
    Standing,
    standing_key,
)
from services.consensus.domain.contracts.template.tiers import TierMap
from services.consensus.domain.contracts.template_checks import (
    require_conforming,
    require_digest,
    require_template,
)

STANDING_AGE_MS_MAX: Final = 86_400_000
"""How far the regulatory chain's block time may lie behind this chain's in a proof of standing."""
TOOL_LENGTH_MAX: Final = 64
CHAIN_LENGTH_MAX: Final = 64
RELEASE: Final = ("template", "standing", "tests", "risk_review")


@dataclass(frozen=True, slots=True)
class Release:
    """What was brought and holds: the template, how it is named, and the facts that are kept."""

    template: Template
    named: NamedTemplate
    facts: dict[str, Json]


def judge_release(
    host: Host,
    body: Mapping[str, Json],
    module: Module,
    formats: Collection[str],
    version: int,
) -> Release:
    """Judge the members `RELEASE` of a deployment of `module` by a template in one of `formats`
    as this version of `contracts` does; raises `Refusal`. Chains that know format 2 keep the final
    states, too, and from version 5 on the life cycle.
    """
    reviewer = require_second(host, roles.CONTRACT_REVIEWER)
    tests = _tests(body["tests"], module, version)
    review = require_digest(body["risk_review"], "risk_review")
    template = require_template(body["template"], formats)
    digest = template.digest.hex()
    standing = require_standing(host, (template.id, template.version), digest, body["standing"])
    require_conforming(template, module)
    named = NamedTemplate(
        template.id,
        template.version,
        template.template_class.value,
        digest,
        standing.filing_number,
    )
    facts: dict[str, Json] = {
        "template": named.to_json(),
        "tiers": TierMap.of(template).to_json(),
        "tests": tests,
        "risk_review": review,
        "reviewer": reviewer.did,
    }
    if FORMAT_2 in formats:
        facts["final_states"] = [each.name for each in template.states if each.is_final]
    if version >= BY_RELEASE:
        facts[DEPLOYER] = version
    if version >= BY_LIFE_CYCLE:
        facts["life_cycle"] = LifeCycle.of(template).to_json()
    return Release(template, named, facts)


def require_successor(before: NamedTemplate | None, named: NamedTemplate) -> None:
    """Refuse an upgrade by another template, or by an earlier version of it."""
    if before is None:
        return
    if named.id != before.id or named.version < before.version:
        raise Refusal(
            "CONTRACT_TEMPLATE_OTHER",
            template=f"{before.id}@{before.version}",
            other=f"{named.id}@{named.version}",
        )


def require_standing(host: Host, version: tuple[str, int], digest: str, proof: Json) -> Standing:
    """The standing of a template, if it is in force with this digest; raises `Refusal`.

    `proof` is `{header, certificate, standing, proof}` of the regulatory chain, or null on that
    chain itself.
    """
    system, regulator = system_host(host), regulator_of(host)
    if regulator is None:
        if proof is not None:
            fault = "the regulatory chain reads its own state"
            raise Refusal("BODY_MALFORMED", field="standing", fault=fault)
        value = system.read(TEMPLATES, standing_key(*version))
    else:
        value = _proven(system, regulator, version, proof)
    standing = None if value is None else _standing(value)
    if standing is None or standing.status not in IN_FORCE or standing.digest != digest:
        raise Refusal(
            "TEMPLATE_NOT_FILED",
            template=f"{version[0]}@{version[1]}",
            state=NONE if standing is None else standing.status.value,
            is_same=standing is not None and standing.digest == digest,
        )
    return standing


def _proven(host: SystemHost, chain: str, version: tuple[str, int], proof: Json) -> Json | None:
    if not isinstance(proof, dict):
        raise Refusal("BODY_MALFORMED", field="standing", fault="not an object")
    require_members(proof, "standing.", "header certificate standing proof")
    if proof["standing"] is None:
        return None
    proven_value(
        host,
        chain,
        proof,
        member="standing",
        key=f"{TEMPLATES}/{standing_key(*version)}",
        piece=f"standing of {version[0]}@{version[1]}",
        too_old="TEMPLATE_STANDING_OLD",
    )
    return proof["standing"]


def regulator_of(host: Host) -> str | None:
    """The regulatory chain of a market's chain; None on that chain itself."""
    parameters = host.get("parameters")
    assert isinstance(parameters, dict), "genesis writes the parameters of every contract"
    regulator = parameters["destination"]
    assert regulator is None or isinstance(regulator, str)
    return regulator


def proven_value(
    host: SystemHost,
    chain: str,
    proof: Mapping[str, Json],
    *,
    member: str,
    key: str,
    piece: str,
    too_old: str,
) -> None:
    """Refuse unless the chain's certified state holds the value `proof[member]` under `key`, as of
    a day at most: `proof` is `{header, certificate, <member>, proof}`, in the body under `member`.
    """
    header = certified_header(host, chain, proof, f"{member}.")
    oldest = host.block_time_ms() - STANDING_AGE_MS_MAX
    if header.block_time_ms < oldest:
        raise Refusal(too_old, block_time_ms=header.block_time_ms, oldest_ms=oldest)
    field = f"{member}.proof"
    try:
        path = StateProof.decode(hex_bytes(proof["proof"], field, PROOF_BYTES_MAX))
    except MalformedError as error:
        raise Refusal("PROOF_INVALID", piece=field, detail=str(error)) from error
    verify_or_refuse(
        piece=piece,
        root=header.state_root,
        key=key,
        value=proof[member],
        proof=path,
    )


def _standing(value: Json) -> Standing:
    try:
        return Standing.from_json(value)
    except ValueError as error:
        # The regulatory chain's own state says it: its release is another one.
        raise Refusal("BODY_MALFORMED", field="standing.standing", fault=str(error)) from error


def _tests(value: Json, module: Module, version: int) -> Json:
    """The report's digest and what it says: cases passed, none failed, of this very form."""
    if not isinstance(value, dict):
        raise Refusal("BODY_MALFORMED", field="tests", fault="not an object")
    if version >= BY_RELEASE:
        _require_analysis(value.get("analysis"))
        _require_test_run(value.get("test_run"))
        require_members(value, "tests.", "report form passed failed analysis test_run")
    else:
        require_members(value, "tests.", "report form passed failed")
    require_digest(value["report"], "tests.report")
    if value["form"] != module.digest.hex():
        raise Refusal("CONTRACT_UNTESTED", fault="the report is of another form")
    natural(value["passed"], "tests.passed")
    if value["failed"] != 0 or type(value["failed"]) is not int:
        raise Refusal("CONTRACT_UNTESTED", fault="a case failed")
    return dict(value)


def _require_analysis(value: Json) -> None:
    """Which tool looked at the source without running it, its version, and what it found."""
    if value is None:
        raise Refusal("CONTRACT_UNANALYSED", fault="no `analysis` is in the report")
    if not isinstance(value, dict):
        raise Refusal("BODY_MALFORMED", field="tests.analysis", fault="not an object")
    require_members(value, "tests.analysis.", "tool version findings")
    for name in ("tool", "version"):
        text(value[name], f"tests.analysis.{name}", TOOL_LENGTH_MAX)
    require_digest(value["findings"], "tests.analysis.findings")


def _require_test_run(value: Json) -> None:
    """The transaction on a chain of a test network with which the form ran there."""
    if value is None:
        raise Refusal("CONTRACT_TEST_RUN_MISSING", fault="no `test_run` is in the report")
    if not isinstance(value, dict):
        raise Refusal("BODY_MALFORMED", field="tests.test_run", fault="not an object")
    require_members(value, "tests.test_run.", "chain transaction")
    text(value["chain"], "tests.test_run.chain", CHAIN_LENGTH_MAX)
    require_digest(value["transaction"], "tests.test_run.transaction")
