"""Which formats of data objects the regulatory chain takes from a market's chain, and until when.

A format is known by the version of the data model in an object's header. The contract `notices`
writes the schedule: a new format from its cut-over on, which is never before the permitted date,
and the old one until its last day (G2-14-6). Of a chain for which nobody adopted an interface, and
on a chain without `notices`, every format is taken.

    formats/<chain>            the version in force; that it stands here begins the enforcement
    format/<chain>/<version>   {"from_ms": since when, "until": the last day, or null}
"""

from __future__ import annotations

from datetime import date
from typing import Final, Protocol

from guqiao_sdk.proof.json_values import Json
from services.consensus.domain.contracts.calendar import block_day
from services.consensus.domain.contracts.host import Host, Refusal
from services.consensus.domain.contracts.notice.standing import NOTICES

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
    if record is None:
        raise Refusal("FORMAT_NOT_PERMITTED", chain=chain, version=version, in_force=in_force)
    assert isinstance(record, dict), "the contract wrote it"
    until = record["until"]
    if until is None:
        return
    assert isinstance(until, str), "the contract wrote it"
    if block_day(host) > date.fromisoformat(until):
        raise Refusal("FORMAT_ENDED", chain=chain, version=version, until=until, in_force=in_force)


# --- What the contract `notices` writes ----------------------------------------------------------


def is_known(host: Host, chain: str, version: str) -> bool:
    """Whether a format was ever permitted."""
    return host.get(_format_key(chain, version)) is not None


def permit(host: Host, chain: str, version: str) -> None:
    """Put a format in force."""
    host.put(_in_force_key(chain), version)
    host.put(_format_key(chain, version), {"from_ms": host.block_time_ms(), "until": None})


def forget(host: Host, chain: str, version: str) -> None:
    """Take a format from the schedule."""
    host.delete(_format_key(chain, version))


def end(host: Host, chain: str, version: str, until: str) -> None:
    """Let the old format go on until this day, with it."""
    record = host.get(_format_key(chain, version))
    assert isinstance(record, dict), "it was in force"
    host.put(_format_key(chain, version), {**record, "until": until})


def restore(host: Host, chain: str, *, old: str, new: str) -> None:
    """Put the old format back in force and take the new one from the schedule."""
    record = host.get(_format_key(chain, old))
    assert isinstance(record, dict), "it was in force"
    forget(host, chain, new)
    host.put(_format_key(chain, old), {**record, "until": None})
    host.put(_in_force_key(chain), old)


def _in_force_key(chain: str) -> str:
    return f"{_FORMATS}/{chain}"


def _format_key(chain: str, version: str) -> str:
    return f"format/{chain}/{version}"
