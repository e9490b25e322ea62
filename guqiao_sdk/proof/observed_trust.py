"""What a TRUST file says of observed chains: chains of another kind, believed from checkpoints.

No header of such a chain names the sealers of the next one, so nothing but a checkpoint takes the
trust past a change of all of them, and a sealer's key that is lost years later still signs what an
old checkpoint believes. The issuer therefore vouches for such a chain until a day only, and renews
it: the checkpoints stay, later ones come behind them, and the end moves on.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.proof.fisco.checkpoint import checkpoint_of, checkpoint_value
from guqiao_sdk.proof.fisco.header import CertifiedHeader
from guqiao_sdk.proof.fisco.trusted import TrustedFisco, advance, check_header
from guqiao_sdk.proof.header import Verify
from guqiao_sdk.proof.json_values import Json
from guqiao_sdk.proof.members import MemberReader

OBSERVED_MAX: Final = 64
OBSERVED_CHECKPOINTS_MAX: Final = 256
VALID_DAYS_MAX: Final = 366
"""Nobody vouches for another chain's sealers for longer than this without looking at them again."""

_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\+08:00")
_FROZEN: Final = "CLIENT_FROZEN"


@dataclass(frozen=True, slots=True)
class ObservedTrust:
    """One observed chain: checkpoints in ascending order of height, at least one, and until when
    they are believed, RFC 3339 in seconds with +08:00.
    """

    valid_until: str
    checkpoints: tuple[TrustedFisco, ...]

    @property
    def name(self) -> str:
        """Chain and group."""
        return self.checkpoints[0].name

    @property
    def genesis_hash(self) -> bytes:
        """The hash of its genesis block, 32 bytes: the name may be another chain's, too."""
        return self.checkpoints[0].genesis_hash

    def ends_ms(self) -> int:
        """The first millisecond since 1970 at which it is believed no longer."""
        return int(datetime.fromisoformat(self.valid_until).timestamp()) * 1000

    def check_current(self, now_ms: int) -> None:
        """Raise `ProofError` (`TRUST_EXPIRED`) from its end on."""
        if now_ms >= self.ends_ms():
            raise ProofError(
                f"trust in {self.name}",
                f"its issuer vouched for it until {self.valid_until}",
                "TRUST_EXPIRED",
            )

    def check_header(self, certified: CertifiedHeader, verify: Verify) -> TrustedFisco:
        """The checkpoint by which a header is believed: the nearest one at its height or below,
        else the first. Raises `ProofError`.
        """
        header = certified.header
        below = [point for point in self.checkpoints if point.number <= header.number]
        if not below:
            check_header(self.checkpoints[0], certified, verify)
            return self.checkpoints[0]
        advance(below[-1], certified, verify)
        return below[-1]

    def renewed(self, checkpoint: TrustedFisco, valid_until: str) -> ObservedTrust:
        """The same with a later checkpoint, or with the same again, and another end. Raises
        `ProofError` where the checkpoint is of another chain, lies below the last one, or
        contradicts it.
        """
        last = self.checkpoints[-1]
        piece = f"trust in {self.name}"
        if _identity(checkpoint) != _identity(last):
            raise ProofError(piece, f"it is not of {checkpoint.name}", "CHAIN_MISMATCH")
        if checkpoint.number < last.number:
            raise ProofError(piece, f"height {last.number} is trusted already", "TRUST_INVALID")
        if checkpoint.number > last.number:
            return ObservedTrust(valid_until, (*self.checkpoints, checkpoint))
        if checkpoint != last:
            raise ProofError(
                piece, f"the trust file has another checkpoint at height {last.number}", _FROZEN
            )
        return ObservedTrust(valid_until, self.checkpoints)


def observed_value(observed: ObservedTrust) -> Json:
    """As it stands in a TRUST file."""
    points: list[Json] = [checkpoint_value(each) for each in observed.checkpoints]
    return {"valid_until": observed.valid_until, "checkpoints": points}


def observed_of(value: Json, path: str, read: MemberReader) -> ObservedTrust:
    """Read `observed_value`'s value, which stands at `path`; raises `ProofError`."""
    members = read.members(value, path, "valid_until checkpoints")
    points = read.array(members["checkpoints"], f"{path}.checkpoints", OBSERVED_CHECKPOINTS_MAX)
    until = read.match(_TIME, members["valid_until"], f"{path}.valid_until")
    try:
        return ObservedTrust(until, tuple(checkpoint_of(point) for point in points))
    except ProofError as error:
        raise read.refusal(f"{path}.checkpoints: {error.detail}") from error


def check_observed(
    observed: Sequence[ObservedTrust], issued_at: str, refusal: Callable[[str], ProofError]
) -> None:
    """Raise what `refusal` makes of a sentence where they contradict themselves or one another, or
    where one of them is believed for longer than anybody may vouch.
    """
    identities = [_identity(each.checkpoints[0]) for each in observed]
    if len(set(identities)) != len(identities):
        raise refusal("it names a chain twice")
    for each in observed:
        _check_period(each, issued_at, refusal)
        for earlier, point in zip(each.checkpoints, each.checkpoints[1:], strict=False):
            name = f"the checkpoint of {point.name} at height {point.number}"
            if _identity(point) != _identity(earlier):
                raise refusal(f"{name} is of another chain than the one before it")
            if point.number <= earlier.number:
                raise refusal(f"{name} is not above the one before it")


def _check_period(
    observed: ObservedTrust, issued_at: str, refusal: Callable[[str], ProofError]
) -> None:
    try:
        period = datetime.fromisoformat(observed.valid_until) - datetime.fromisoformat(issued_at)
    except ValueError:
        raise refusal(f"{observed.name} has a period with a day that no calendar has") from None
    if period > timedelta(days=VALID_DAYS_MAX):
        raise refusal(
            f"{observed.name} is vouched for until {observed.valid_until}, "
            f"more than {VALID_DAYS_MAX} days after the issue"
        )


def _identity(point: TrustedFisco) -> tuple[str, str, bytes]:
    return point.chain_id, point.group_id, point.genesis_hash
