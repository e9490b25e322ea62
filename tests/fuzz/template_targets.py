"""What a chain is given as a contract template, and with a contract that runs by one."""

from __future__ import annotations

from guqiao_sdk.proof.json_values import Json, JsonError, canonical_json
from services.consensus.domain.contracts.deployed import BY_LIFE_CYCLE, CONTRACTS
from services.consensus.domain.contracts.deployment_notice import (
    ProvenNotice,
    read_change_list,
    read_notice,
)
from services.consensus.domain.contracts.deployment_template import RELEASE, Release, judge_release
from services.consensus.domain.contracts.host import Party, Refusal
from services.consensus.domain.contracts.star.syntax import compile_source
from services.consensus.domain.contracts.template.faults import TemplateError
from services.consensus.domain.contracts.template.form import read_template
from services.consensus.domain.contracts.template.life_cycle import LifeCycle
from services.consensus.domain.contracts.template.model import FORMATS, Template
from services.consensus.domain.contracts.template.tiers import TierMap
from services.consensus.domain.ledger.admission import AdmittedTransaction, read_transaction
from services.consensus.domain.ledger.host import CallContext, LedgerHost
from tests.fuzz import mutations
from tests.fuzz.harness import Target
from tests.fuzz.readers import any_signature, json_value
from tests.unit.templates.orders import orders, own_orders
from tests.unit.templates.template_market import template
from tests.unit.xchain import test_deployments_by_template as by_template
from tests.unit.xchain.release_evidence import EVIDENCE
from tests.unit.xchain.test_upgrade_notices import RECORD, change_list

SOURCE = (
    b"A = [1, {'a': -2}]\n\ndef f(a, b=2):\n    for x in A:\n        a += x\n    return a[b:]\n"
)


def targets() -> tuple[Target, ...]:
    """Templates with a short contract."""
    code: dict[str, Json] = {
        "engine": "star/1",
        "ir": compile_source(SOURCE).encoded.decode(),
        "source": SOURCE.decode(),
    }
    samples = [
        canonical_json({**template(name).to_json(), "contract": code})
        for name in ("subject", "registration")
    ]
    samples.append(canonical_json({**orders(), "contract": code}))
    samples.append(canonical_json(own_orders()))
    kept = canonical_json(_kept())
    steps = canonical_json(LifeCycle.of(read_template(orders())).to_json())
    notice, listed = canonical_json(RECORD), change_list().encode()
    refusals = (TemplateError, JsonError)
    return (
        Target("contract template", _template, refusals, samples, mutations.of_json),
        Target("tiers of a contract", _tiers, (ValueError,), [kept], mutations.of_json),
        Target("life cycle of a contract", _life_cycle, (ValueError,), [steps], mutations.of_json),
        Target("notice of an upgrade", _notice, (Refusal, JsonError), [notice], mutations.of_json),
        Target("change list", _change_list, (Refusal,), [listed], mutations.of_json),
        _release(),
    )


def _kept() -> Json:
    """What the record of a contract holds of a template of format 2."""
    return TierMap.of(read_template(orders())).to_json()


def _tiers(data: bytes) -> Json:
    return TierMap.from_json(json_value(data)).to_json()


def _life_cycle(data: bytes) -> Json:
    return LifeCycle.from_json(json_value(data)).to_json()


def _change_list(data: bytes) -> list[Json]:
    return read_change_list(data)


def _notice(data: bytes) -> ProvenNotice:
    return read_notice(json_value(data))


def _template(data: bytes) -> Template:
    return read_template(json_value(data))


def _release() -> Target:
    """What comes with a deployment, judged as a market's chain does that any signature convinces:
    the template is of one that is in force, so a sample is accepted.
    """
    markets = by_template.Markets.make()
    markets.publish()
    body = markets.body()
    reviewed = (by_template.governor("shandong", 0), by_template.REVIEWER)
    maker, checker = (Party(each.did, "key-1", each.organisation, each.roles) for each in reviewed)
    header = markets.shandong.header
    admitted = read_transaction(
        markets.shandong.transaction("contracts", "deploy", {}, signers=reviewed)
    )
    assert isinstance(admitted, AdmittedTransaction)
    context = CallContext(
        chain_id="shandong",
        destination="csrc",
        height=header.height + 1,
        block_time_ms=header.block_time_ms + 1_000,
        transaction=admitted,
        maker=maker,
        checker=checker,
        verify=any_signature,
    )
    module = by_template.TRANSFER.contract.module

    def judge(data: bytes) -> Release:
        brought = json_value(data)
        if not isinstance(brought, dict) or set(brought) != set(RELEASE):
            raise Refusal("BODY_MALFORMED")
        host = LedgerHost(markets.shandong.state, context, CONTRACTS)
        return judge_release(host, brought, module, FORMATS, BY_LIFE_CYCLE)

    brought = body | {"tests": body["tests"] | EVIDENCE}
    sample = canonical_json({name: brought[name] for name in RELEASE})
    return Target("release of a contract", judge, (Refusal, JsonError), [sample], mutations.of_json)
