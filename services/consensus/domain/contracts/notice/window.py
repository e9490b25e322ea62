"""The window of a migration (SM-1, SM-3): the only time in which a chain is migrated.

A notice of a migration opens it on its day, and the register of chains then says MIGRATING: other
keys may sign meanwhile, and another chain may be registered to take over. The data is compared
within it. It closes with the cut-over, and where the migration is put off or called off; from then
on the keys that sign are held against the registration again. A chain that nobody registered with
`chains` has the window of its notice alone.

    window/<chain>   {"number": of its notice, "height": since when, "target": the chain that takes
                     over, or null, "registered": whether `chains` knows the chain}
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from services.consensus.domain.contracts.chain_registry.changing import (
    close_migration,
    forget_target,
    open_migration,
)
from services.consensus.domain.contracts.chain_registry.standing import (
    CHAINS,
    migration_key,
    standing_key,
)
from services.consensus.domain.contracts.host import Host, Refusal
from services.consensus.domain.contracts.packets_host import SystemHost, system_host

_OPEN: Final = "WINDOW_OPEN"


def open_for(host: Host, record: Mapping[str, Any], target: str | None) -> None:
    """Open the window of a notice. Refuses one that is open, and a registration from which no
    migration begins.
    """
    chain, system = record["chain"], system_host(host)
    if _window(host, chain) is not None:
        raise Refusal("ILLEGAL_TRANSITION", state=_OPEN, event="open_window")
    is_registered = system.read(CHAINS, standing_key(chain)) is not None
    if target is not None:
        _require_target(system, chain, target, is_registered=is_registered)
    if is_registered:
        system.within(CHAINS, lambda: open_migration(system, chain, target=target))
    host.put(
        _key(chain),
        {
            "number": record["number"],
            "height": host.height(),
            "target": target,
            "registered": is_registered,
        },
    )


def _require_target(host: SystemHost, chain: str, target: str, *, is_registered: bool) -> None:
    fault = ""
    if target == chain:
        fault = "the chain itself"
    elif not is_registered:
        fault = f"{chain} is not registered"
    elif host.read(CHAINS, migration_key(target)) is not None:
        fault = "a migration named it before"
    if fault:
        raise Refusal("BODY_MALFORMED", field="target", fault=fault)


def require_open(host: Host, record: Mapping[str, Any]) -> None:
    """Refuse a step of a migration outside its window."""
    window = _window(host, record["chain"])
    if window is None or window["number"] != record["number"]:
        raise Refusal("UPGRADE_WINDOW_CLOSED", chain=record["chain"], number=record["number"])


def close_after(host: Host, record: Mapping[str, Any]) -> None:
    """Close the window that `require_open` found, after the cut-over."""
    _close(host, record["chain"], took_place=True)


def call_off(host: Host, record: Mapping[str, Any]) -> None:
    """Close the window of a notice if it is open: nothing was migrated, and nothing takes over."""
    window = _window(host, record["chain"])
    if window is not None and window["number"] == record["number"]:
        _close(host, record["chain"], took_place=False)


def _close(host: Host, chain: str, *, took_place: bool) -> None:
    window, system = _window(host, chain), system_host(host)
    assert window is not None, "it is open"
    host.delete(_key(chain))
    target = window["target"]
    if target is not None and not took_place:
        system.within(CHAINS, lambda: forget_target(system, target))
    if window["registered"]:
        system.within(CHAINS, lambda: close_migration(system, chain))
    host.emit("notice.window_closed", {"chain": chain, "number": window["number"]})


def _window(host: Host, chain: str) -> Mapping[str, Any] | None:
    window = host.get(_key(chain))
    assert window is None or isinstance(window, dict), "the contract wrote it"
    return window


def _key(chain: str) -> str:
    return f"window/{chain}"
