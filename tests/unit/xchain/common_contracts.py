"""Contracts of the common set, deployed and called at a market."""

from __future__ import annotations

from typing import Any

from guqiao_sdk.proof.receipt import Receipt
from services.consensus.domain.contracts.identity_record import IdentityRecord
from services.consensus.domain.contracts.template.model import Template
from tests.unit.xchain.test_deployments_by_template import Markets


def deploy_common(markets: Markets, published: Template, source: str) -> Receipt:
    """Publish a template, and deploy a contract of it under its name."""
    markets.publish(published)
    key = f"standing/{published.id}/{published.version:020d}"
    named: dict[str, Any] = {"name": published.id, "template": published.to_json()}
    return markets.deploy(source=source, standing=markets.standing(key), **named)


def call(
    markets: Markets, contract: str, method: str, *signers: IdentityRecord, **arguments: Any
) -> Receipt:
    """One call of a deployed contract, in a block of its own."""
    transaction = markets.shandong.transaction(contract, method, arguments, signers=signers)
    return markets.shandong.execute(transaction).receipts[0]
