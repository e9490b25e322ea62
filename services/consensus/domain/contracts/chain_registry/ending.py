"""The end of a chain's registration: the operator asks, the province consents, the CSRC decides."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from guqiao_sdk.proof.json_values import Json
from services.consensus.domain.contracts.chain_registry.fields import Fields
from services.consensus.domain.contracts.chain_registry.standing import Status, find, move
from services.consensus.domain.contracts.chain_registry.steps import (
    called,
    require_owner,
    require_province,
    signed,
)
from services.consensus.domain.contracts.host import Host, Refusal
from services.consensus.domain.contracts.signers import require_csrc, require_operator


def request_deregistration(host: Host, body: Mapping[str, Json]) -> None:
    """Ask for the end, with the proof that the data were handed over and the way of reporting that
    the market has from then on.
    """
    require_operator(host)
    chain, _, record = called(host, body, "request_deregistration", "handover reporting_path")
    require_owner(host, chain, record["registration"])
    form = Fields(body, "")
    facts: dict[str, Json] = {
        "handover": form.digest("handover"),
        "reporting_path": form.text("reporting_path"),
    }
    host.put(_key(chain), {**facts, "requested": signed(host)})
    host.emit("chain.deregistration_requested", {"chain_id": chain, **facts})


def consent_deregistration(host: Host, body: Mapping[str, Json]) -> None:
    """Consent as the regulator of the province, to the hand-over that the body names."""
    chain, _, record = called(host, body, "consent_deregistration", "handover")
    require_province(host, chain, record["registration"])
    request = _request(host, chain, body)
    host.put(_key(chain), {**request, "consented": signed(host)})
    host.emit("chain.deregistration_consented", {"chain_id": chain})


def deregister(host: Host, body: Mapping[str, Json]) -> None:
    """End the registration for good: its packets are refused, its id stays taken."""
    require_csrc(host)
    chain, _, record = called(host, body, "deregister", "handover")
    request = _request(host, chain, body)
    if "consented" not in request:
        raise Refusal("DEREGISTRATION_INCOMPLETE", chain=chain, lacking="consent of the province")
    host.delete(f"operator/{record['registration']['operator']['uscc']}/{chain}")
    host.put(_key(chain), {**request, "decided": signed(host)})
    facts: dict[str, Json] = {name: request[name] for name in ("handover", "reporting_path")}
    move(host, chain, "deregister", Status.DEREGISTERED, "chain.deregistered", **facts)


def _request(host: Host, chain: str, body: Mapping[str, Json]) -> dict[str, Any]:
    request = find(host, _key(chain))
    if request is None or request["handover"] != body["handover"]:
        raise Refusal("DEREGISTRATION_INCOMPLETE", chain=chain, lacking="request of the operator")
    return request


def _key(chain: str) -> str:
    return f"deregistration/{chain}"
