"""`guqiao observed trust`: the TRUST file's issuer vouches for a chain of another kind, for a time.

Whoever runs it has looked at who the chain's sealers are: no proof says that of a chain whose
headers do not name the sealers of the next one.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime
from pathlib import Path

from guqiao_sdk.gm.keyfile import load_private_key
from guqiao_sdk.gm.provider import open_provider
from guqiao_sdk.proof.fisco.checkpoint import CHECKPOINT_BYTES_MAX, parse_checkpoint
from guqiao_sdk.proof.fisco.trusted import TrustedFisco
from guqiao_sdk.proof.observed_trust import ObservedTrust
from guqiao_sdk.proof.trust import TRUST_BYTES_MAX, Trust, encode_trust, parse_trust
from guqiaoctl.commands.calls import guarded
from guqiaoctl.failures import EXIT_USAGE, CliError
from guqiaoctl.input_files import read_input
from guqiaoctl.network.files import write_file
from guqiaoctl.network.layout import load_network
from guqiaoctl.network.parties import CSRC
from guqiaoctl.network.trust_file import SHANGHAI
from guqiaoctl.output import print_json, print_table, shown


def vouch(data: Path, checkpoint: Path, until: str, *, as_json: bool) -> None:
    """Write the TRUST file anew, with the checkpoint in it and signed by its issuer.

    Raises `CliError`: exit code 2 for a day that is none or is over, 7 for a checkpoint that does
    not follow the one that is trusted, and for a file of another issuer.
    """
    layout, provider = load_network(data).layout, open_provider()
    now = datetime.now(SHANGHAI)
    valid_until = _end_of(until, now)
    point = guarded(parse_checkpoint, read_input(checkpoint, CHECKPOINT_BYTES_MAX))
    key = load_private_key(layout.account(CSRC, "admin"), provider)
    content = read_input(layout.trust, TRUST_BYTES_MAX)
    trust = guarded(parse_trust, content, provider.verify, key.public_key)
    observed = guarded(_with, trust, point, valid_until)
    issued_at = now.isoformat(timespec="seconds")
    renewed = replace(trust, issued_at=issued_at, observed=observed)
    write_file(
        layout.trust, guarded(encode_trust, renewed, lambda message: provider.sign(key, message))
    )
    _show(point, valid_until, layout.trust, as_json=as_json)


def _with(trust: Trust, point: TrustedFisco, valid_until: str) -> tuple[ObservedTrust, ...]:
    """Every observed chain of the file, this one renewed or new at the end."""
    kept = list(trust.observed)
    for place, each in enumerate(kept):
        if (each.genesis_hash, each.name) == (point.genesis_hash, point.name):
            kept[place] = each.renewed(point, valid_until)
            return tuple(kept)
    return (*kept, ObservedTrust(valid_until, (point,)))


def _end_of(until: str, now: datetime) -> str:
    try:
        day = date.fromisoformat(until)
    except ValueError as error:
        raise _wrong_day(until) from error
    if day < now.date():
        raise _wrong_day(until)
    return f"{day.isoformat()}T23:59:59+08:00"


def _wrong_day(until: str) -> CliError:
    return CliError(
        "REQUEST_MALFORMED",
        f"{shown(until[:40])} is no day from today on",
        f"{shown(until[:40])} 不是今天或以后的日期",
        "give --until as YYYY-MM-DD",
        "请以 YYYY-MM-DD 形式给出 --until",
        exit_code=EXIT_USAGE,
    )


def _show(point: TrustedFisco, valid_until: str, file: Path, *, as_json: bool) -> None:
    facts = {
        "chain": point.name,
        "genesis_hash": point.genesis_hash.hex(),
        "height": point.number,
        "sealers": len(point.sealers.sealers),
        "valid_until": valid_until,
        "trust_file": str(file),
    }
    if as_json:
        print_json(facts)
    else:
        print_table(("WHAT", "IS"), [(name, str(value)) for name, value in facts.items()])
