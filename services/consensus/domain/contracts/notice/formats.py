"""Which formats of data objects the regulatory chain takes from a market's chain, and until when.

A format is known by the version of the data model in an object's header. The contract `notices`
writes the schedule: a new format from its cut-over on, which is never before the permitted date,
and the old one until its last day (G2-14-6). Of a chain for which nobody adopted an interface, and
on a chain without `notices`, every format is taken.

    formats/<chain>            the version in force; that it stands here begins the enforcement
    format/<chain>/<version>   {"interface": its digest, "from_ms": since when, or null where it was
                               taken back, "until": the last day, or null}
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any, Final, Protocol

from guqiao_sdk.proof.json_values import Json
from services.consensus.domain.contracts.calendar import block_day
from services.consensus.domain.contracts.host import Host, Refusal
from services.consensus.domain.contracts.notice.interface import OBJECTS, Interface
from services.consensus.domain.contracts.notice.standing import NOTICES, head_key, interface_key

_FORMATS: Final = "formats"


class FormatHost(Protocol):
    """What of the host this needs."""

    def read(self, contract: str, key: str) -> Json | None:
        """Return what `contract` keeps under `key`."""
        ...

    def block_time_ms(self) -> int:
        """Return the block time."""
        ...


def require_format(host: FormatHost, chain: str, version: str) -> None:
    """Refuse an object of a format that is not permitted yet, or not any more."""
    in_force = host.read(NOTICES, _in_force_key(chain))
    if in_force is None:
        return
    record = host.read(NOTICES, _format_key(chain, version))
    if not isinstance(record, dict) or record["from_ms"] is None:
        raise Refusal("FORMAT_NOT_PERMITTED", chain=chain, version=version, in_force=in_force)
    until = record["until"]
    if until is None:
        return
    assert isinstance(until, str), "the contract wrote it"
    if block_day(host) > date.fromisoformat(until):
        raise Refusal("FORMAT_ENDED", chain=chain, version=version, until=until, in_force=in_force)


def described_part(
    host: FormatHost, chain: str, version: str, content_type: str
) -> Mapping[str, Any] | None:
    """The fields of data objects of that type in a format that `require_format` let pass, by path:
    as the interface in force has them, or the last one that was in force with that format. None
    where no format is judged; refuses a type that the interface does not describe (G2-14-6).
    """
    if host.read(NOTICES, _in_force_key(chain)) is None:
        return None
    head: Any = host.read(NOTICES, head_key(chain))
    of_format: Any = host.read(NOTICES, _format_key(chain, version))
    latest = head if head["model_version"] == version else of_format
    interface: Any = host.read(NOTICES, interface_key(chain, latest["interface"]))
    part = interface["parts"].get(f"{OBJECTS}{content_type}")
    if part is None:
        raise Refusal("SCHEMA_FAILED", field="header.content.type", fault="not in the interface")
    fields: Mapping[str, Any] = part["fields"]
    return fields


# --- What the contract `notices` writes ----------------------------------------------------------


def is_taken(host: Host, chain: str, interface: Interface) -> bool:
    """Whether the version was a format before; one that was taken back may come again as it was."""
    record = host.get(_format_key(chain, interface.model_version))
    if record is None:
        return False
    assert isinstance(record, dict), "the contract wrote it"
    return record["from_ms"] is not None or record["interface"] != interface.digest.hex()


def permit(host: Host, chain: str, interface: Interface) -> None:
    """Put a format in force."""
    version = interface.model_version
    record: dict[str, Json] = {
        "interface": interface.digest.hex(),
        "from_ms": host.block_time_ms(),
        "until": None,
    }
    host.put(_in_force_key(chain), version)
    host.put(_format_key(chain, version), record)


def forget(host: Host, chain: str, version: str) -> None:
    """Take a format from the schedule."""
    host.delete(_format_key(chain, version))


def end(host: Host, chain: str, old: Interface, until: str, *, keeps_interface: bool) -> None:
    """Let the old format go on until this day, with it; what was in force last describes it, if
    that is kept: compatible upgrades had changed it meanwhile.
    """
    version, ended = old.model_version, {"until": until}
    if keeps_interface:
        ended["interface"] = old.digest.hex()
    host.put(_format_key(chain, version), {**_record(host, chain, version), **ended})


def restore(host: Host, chain: str, *, old: str, new: str) -> None:
    """Put the old format back in force and take the new one back."""
    host.put(_format_key(chain, new), {**_record(host, chain, new), "from_ms": None})
    host.put(_format_key(chain, old), {**_record(host, chain, old), "until": None})
    host.put(_in_force_key(chain), old)


def _record(host: Host, chain: str, version: str) -> dict[str, Json]:
    record = host.get(_format_key(chain, version))
    assert isinstance(record, dict), "it was in force"
    return record


def _in_force_key(chain: str) -> str:
    return f"{_FORMATS}/{chain}"


def _format_key(chain: str, version: str) -> str:
    return f"format/{chain}/{version}"
