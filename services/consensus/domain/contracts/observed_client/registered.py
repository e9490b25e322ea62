"""What the register of chains says of a chain that is observed: the checkpoint must agree with it.

A chain that nobody registered with `chains` is observed on the word of both CSRC sides alone.
"""

from __future__ import annotations

from typing import Any, Final

from guqiao_sdk import roles
from guqiao_sdk.proof.fisco.sealers import SealerSet
from guqiao_sdk.proof.fisco.trusted import TrustedFisco
from guqiao_sdk.regions import region_of_chain, region_of_did
from services.consensus.domain.contracts.chain_registry.drift import signing_keys_of
from services.consensus.domain.contracts.chain_registry.standing import (
    CHAINS,
    Status,
    registration_key,
    standing_key,
)
from services.consensus.domain.contracts.chain_registry.steps import require_province
from services.consensus.domain.contracts.host import Refusal
from services.consensus.domain.contracts.observed_client.form import OTHER
from services.consensus.domain.contracts.packets_host import SystemHost, require_role

PLATFORM: Final = "FISCO BCOS"
"""What `platform.name` of a registration says of chains that this verifier knows."""

_MAJOR: Final = "3."
_OBSERVED: Final = frozenset({Status.ACTIVE, Status.STALE, Status.MIGRATING})


def require_registered_header(host: SystemHost, chain: str, trusted: TrustedFisco) -> None:
    """Refuse to begin with another header than the registration names (`trusted_header`)."""
    registration = _agreeing(host, chain, trusted, stated=False)
    if registration is None:
        return
    named = registration["trusted_header"]
    if (trusted.number, trusted.header_hash.hex()) != (named["height"], named["hash"]):
        raise Refusal(OTHER, chain=chain, fault="not the trusted_header of the registration")


def require_later_header(
    host: SystemHost, chain: str, trusted: TrustedFisco, *, stated: bool
) -> None:
    """Refuse to go on from a header before the one that the registration names, or against it.
    With `stated` an update that was stated and probed counts as well as what is in force.
    """
    registration = _agreeing(host, chain, trusted, stated=stated)
    if registration is None:
        return
    named = registration["trusted_header"]
    is_it = trusted.header_hash.hex() == named["hash"]
    if trusted.number < named["height"] or (trusted.number == named["height"] and not is_it):
        raise Refusal(OTHER, chain=chain, fault="before or against the registered trusted_header")


def require_chains_province(host: SystemHost, chain: str) -> None:
    """The sender is a regulator of the chain's province, and no part of its operator."""
    registration = _registration(host, chain)
    if registration is not None:
        require_province(host, chain, registration)
        return
    require_role(host, roles.PROVINCIAL_REGULATOR)
    province = region_of_did(host.sender().organisation)
    if province != region_of_chain(chain):
        raise Refusal("CHAIN_PROVINCE_OTHER", chain=chain, province=province)


def is_registered_set(host: SystemHost, chain: str, sealers: SealerSet) -> bool:
    """Whether these keys are the ones that the registration in force lists; so where none is."""
    registration = _registration(host, chain)
    return registration is None or signing_keys_of(registration) == keys_of(sealers)


def _agreeing(
    host: SystemHost, chain: str, trusted: TrustedFisco, *, stated: bool
) -> dict[str, Any] | None:
    """The registration, where there is one, of the same platform, genesis and keys."""
    standing = _standing(host, chain)
    if standing is None:
        return None
    if standing["status"] not in _OBSERVED:
        raise Refusal("CHAIN_NOT_ADMITTED", chain=chain, status=standing["status"])
    registration = _registration(host, chain)
    assert registration is not None, "a standing names a version that is kept"
    waiting = _stated(host, chain) if stated else None
    if waiting is not None and signing_keys_of(waiting) == keys_of(trusted.sealers):
        registration = waiting
    platform = registration["platform"]
    if platform["name"] != PLATFORM or not platform["version"].startswith(_MAJOR):
        raise Refusal(OTHER, chain=chain, fault=f"the registered platform is not {PLATFORM} 3")
    if registration["genesis_hash"] != trusted.genesis_hash.hex():
        raise Refusal(OTHER, chain=chain, fault="not the registered genesis_hash")
    if signing_keys_of(registration) != keys_of(trusted.sealers):
        raise Refusal(OTHER, chain=chain, fault="its sealers are not the registered validators")
    return registration


def _registration(host: SystemHost, chain: str) -> dict[str, Any] | None:
    standing = _standing(host, chain)
    if standing is None:
        return None
    record = host.read(CHAINS, registration_key(chain, standing["version"]))
    assert isinstance(record, dict), "a standing names a version that is kept"
    registration = record["registration"]
    assert isinstance(registration, dict), "the contract wrote it"
    return registration


def _stated(host: SystemHost, chain: str) -> dict[str, Any] | None:
    """What an update states that was probed and waits for its keys to sign."""
    pending = host.read(CHAINS, f"pending/{chain}")
    if not isinstance(pending, dict) or "report" not in pending:
        return None
    registration = pending["registration"]
    assert isinstance(registration, dict), "the contract wrote it"
    return registration


def _standing(host: SystemHost, chain: str) -> dict[str, Any] | None:
    value = host.read(CHAINS, standing_key(chain))
    assert value is None or isinstance(value, dict), "the contract wrote it"
    return value


def keys_of(sealers: SealerSet) -> frozenset[str]:
    """The keys of sealers as a registration spells them."""
    return frozenset(each.public_key.hex() for each in sealers.sealers)
