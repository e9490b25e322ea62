"""The TRUST file: which chains a verifier believes, from which checkpoints, and who says so.

It is the whole root of an offline verification, so its reader is strict: unknown members, sets that
break the rules and empty hashes are refused, and the issuer's SM2 signature covers every value.
Keep the checkpoints of past epochs in it: a bundle is judged from the epoch in which it starts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from guqiao_sdk.gm.sm3 import sm3
from guqiao_sdk.proof.canonical import tagged
from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.proof.header import SIGNATURE_BYTES, ZERO_HASH, BlockHeader, Verify
from guqiao_sdk.proof.json_values import Json, JsonError, canonical_json, parse_json_strict
from guqiao_sdk.proof.members import MemberReader
from guqiao_sdk.proof.observed_trust import (
    OBSERVED_MAX,
    ObservedTrust,
    check_observed,
    observed_of,
    observed_value,
)
from guqiao_sdk.proof.quorum import (
    LINEAGE_BYTES,
    PUBLIC_KEY_BYTES,
    REPLICAS_MAX,
    Member,
    ReplicaSet,
    ReplicaSetError,
)
from guqiao_sdk.proof.restart import RestartAuthorities

FORMAT: Final = "guqiao-trust/1"
TRUST_BYTES_MAX: Final = 8 * 1024 * 1024
CHAINS_MAX: Final = 64
CHECKPOINTS_MAX: Final = 1_024

_PIECE: Final = "trust file"
_CODE: Final = "TRUST_INVALID"
_DEPTH_MAX: Final = 12
_DID = re.compile(r"did:rem:[a-z]{2,20}:[A-Za-z0-9._-]{1,64}")
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\+08:00")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A certified header that the issuer vouches for, and the replica set of its epoch."""

    epoch: int
    height: int
    header_hash: bytes
    replica_set: ReplicaSet


@dataclass(frozen=True, slots=True)
class ChainTrust:
    """One chain: its genesis, and checkpoints in ascending order of height; `authorities` where a
    restart of it that they approved is to be believed without a checkpoint of its epoch.
    """

    chain_id: str
    genesis_hash: bytes
    checkpoints: tuple[Checkpoint, ...]
    authorities: RestartAuthorities | None = None

    def checkpoint_of_epoch(self, epoch: int, height: int) -> Checkpoint:
        """The checkpoint of `epoch` nearest below `height`, else its first; raises `ProofError`."""
        found = [point for point in self.checkpoints if point.epoch == epoch]
        if not found:
            known = ", ".join(sorted({str(point.epoch) for point in self.checkpoints}))
            raise ProofError(
                _PIECE,
                f"it has no checkpoint of {self.chain_id} epoch {epoch} (it has epochs {known}): "
                "get a trust file that has one, or export the bundle from one of these",
                _CODE,
            )
        below = [point for point in found if point.height <= height]
        return below[-1] if below else found[0]

    def check_header(self, header: BlockHeader, replica_set: ReplicaSet) -> None:
        """A certified header, and the set that did, must agree with every checkpoint, not only with
        the one that it was judged from; raises `ProofError`.
        """
        piece = f"header of {self.chain_id} height {header.height}"
        for point in self.checkpoints:
            if point.height == header.height and point.header_hash != header.hash():
                raise ProofError(piece, "the trust file has another header at this height")
            if point.epoch == header.epoch and point.replica_set != replica_set:
                raise ProofError(piece, "the trust file has another replica set for its epoch")
            below, above = point.height <= header.height, point.height >= header.height
            if (below and point.epoch > header.epoch) or (above and point.epoch < header.epoch):
                raise ProofError(
                    piece,
                    f"epoch {header.epoch} contradicts the checkpoint at height {point.height}",
                )


@dataclass(frozen=True, slots=True)
class Trust:
    """What an issuer vouches for: guqiao chains, and observed ones of another kind, for a time.

    `issued_at` is RFC 3339 in seconds with +08:00.
    """

    issuer_did: str
    issuer_key: bytes
    issued_at: str
    chains: tuple[ChainTrust, ...]
    observed: tuple[ObservedTrust, ...] = ()

    def chain(self, chain_id: str) -> ChainTrust:
        """The trust in one chain; raises `ProofError` where there is none."""
        for chain in self.chains:
            if chain.chain_id == chain_id:
                return chain
        raise ProofError(_PIECE, f"it does not name the chain {chain_id}", _CODE)

    def observed_chain(self, genesis_hash: bytes, name: str) -> ObservedTrust:
        """The trust in one observed chain, which its genesis tells from every other; raises
        `ProofError` where there is none.
        """
        for each in self.observed:
            if (each.genesis_hash, each.name) == (genesis_hash, name):
                return each
        raise ProofError(_PIECE, f"it does not name the chain {name}", _CODE)


class NotATrustFileError(ProofError):
    """The file does not say anywhere that it is a TRUST file: the wrong file, not a broken one."""

    def __init__(self, detail: str) -> None:
        super().__init__(_PIECE, detail, _CODE)


def encode_trust(trust: Trust, sign: Callable[[bytes], bytes]) -> bytes:
    """The signed file; `sign` is the issuer's. Raises `ProofError` where a reader would."""
    members = _to_json(trust)
    signature = sign(_sign_bytes(members))
    data = canonical_json({**members, "signature": signature.hex()})
    _check_trust(trust)
    return data


def parse_trust(data: bytes, verify: Verify, issuer_key: bytes | None = None) -> Trust:
    """Read a TRUST file strictly and check its signature, or raise `ProofError`; what is another
    kind of file altogether is `NotATrustFileError`.

    With `issuer_key` the file must be signed with that key. Without it the file vouches for itself:
    whoever passes it then trusts where it came from, and should be shown the issuer.
    """
    try:
        value = parse_json_strict(data, depth_max=_DEPTH_MAX, size_max=TRUST_BYTES_MAX)
    except JsonError as error:
        if FORMAT.encode() not in data:
            raise NotATrustFileError(f"not strict JSON: {error}") from error
        raise _refusal(f"not strict JSON: {error}") from error
    is_trust = isinstance(value, dict) and value.get("format") == FORMAT
    if not is_trust and FORMAT.encode() not in data:
        raise NotATrustFileError(f"no JSON object whose format is {FORMAT}")
    has_observed = isinstance(value, dict) and "observed" in value
    wanted = "format issuer issued_at chains signature" + (" observed" if has_observed else "")
    members = _READ.members(value, "the file", wanted)
    if members["format"] != FORMAT:
        raise _refusal(f"its format is not {FORMAT}")
    issuer = _READ.members(members["issuer"], "issuer", "did public_key")
    key = _READ.hex(issuer["public_key"], "issuer.public_key", PUBLIC_KEY_BYTES)
    signature = _READ.hex(members["signature"], "signature", SIGNATURE_BYTES)
    if issuer_key is not None and key != issuer_key:
        raise _refusal("it is signed with another key than the issuer's")
    unsigned = {name: member for name, member in members.items() if name != "signature"}
    if not verify(key, _sign_bytes(unsigned), signature):
        raise _refusal("the issuer's signature does not hold")
    trust = Trust(
        issuer_did=_READ.match(_DID, issuer["did"], "issuer.did"),
        issuer_key=key,
        issued_at=_READ.match(_TIME, members["issued_at"], "issued_at"),
        chains=tuple(
            _read_chain(chain, f"chains[{index}]")
            for index, chain in enumerate(_READ.array(members["chains"], "chains", CHAINS_MAX))
        ),
        observed=_read_observed(members["observed"]) if has_observed else (),
    )
    _check_trust(trust)
    return trust


def require_issuer(trust: Trust, key_digest: str) -> None:
    """Raise `ProofError` unless the key with this SM3, in hex, signed the file."""
    if sm3(trust.issuer_key).hex() != key_digest.strip().lower():
        raise _refusal("it is signed with another key than the issuer's")


def _sign_bytes(members: Mapping[str, Json]) -> bytes:
    return tagged("guqiao/trust/1", canonical_json(dict(members)))


def _check_trust(trust: Trust) -> None:
    names = [chain.chain_id for chain in trust.chains]
    if len(set(names)) != len(names):
        raise _refusal("it names a chain twice")
    for chain in trust.chains:
        if chain.genesis_hash == ZERO_HASH:
            raise _refusal(f"the genesis hash of {chain.chain_id} is empty")
        earlier: Checkpoint | None = None
        for point in chain.checkpoints:
            _check_checkpoint(chain.chain_id, point, earlier)
            earlier = point
    check_observed(trust.observed, trust.issued_at, _refusal)


def _check_checkpoint(chain_id: str, point: Checkpoint, earlier: Checkpoint | None) -> None:
    name = f"the checkpoint of {chain_id} at height {point.height}"
    try:
        point.replica_set.check()
    except ReplicaSetError as error:
        raise _refusal(f"{name}: {error}") from error
    if point.replica_set.chain_id != chain_id or point.replica_set.epoch != point.epoch:
        raise _refusal(f"{name} has the set of another chain or epoch")
    if point.header_hash == ZERO_HASH:
        raise _refusal(f"{name} has an empty header hash")
    if earlier is None:
        return
    if point.height <= earlier.height or point.epoch < earlier.epoch:
        raise _refusal(f"{name} is not above the one before it")
    if point.epoch == earlier.epoch and point.replica_set != earlier.replica_set:
        raise _refusal(f"{name} has another set than its epoch had before")


def _to_json(trust: Trust) -> dict[str, Json]:
    named: dict[str, Json] = {}
    if trust.observed:
        named["observed"] = [observed_value(each) for each in trust.observed]
    return {
        **named,
        "format": FORMAT,
        "issuer": {"did": trust.issuer_did, "public_key": trust.issuer_key.hex()},
        "issued_at": trust.issued_at,
        "chains": [_chain_to_json(chain) for chain in trust.chains],
    }


def _chain_to_json(chain: ChainTrust) -> Json:
    named: dict[str, Json] = {}
    if chain.authorities is not None:
        named["restart_authorities"] = chain.authorities.to_json()
    return {
        **named,
        "chain_id": chain.chain_id,
        "genesis_hash": chain.genesis_hash.hex(),
        "checkpoints": [_checkpoint_to_json(point) for point in chain.checkpoints],
    }


def _checkpoint_to_json(point: Checkpoint) -> Json:
    named: dict[str, Json] = {}
    if point.replica_set.jailed:
        named["jailed"] = list[Json](point.replica_set.jailed)
    if point.replica_set.lineage:
        named["lineage"] = point.replica_set.lineage.hex()
    return {
        **named,
        "epoch": point.epoch,
        "height": point.height,
        "header_hash": point.header_hash.hex(),
        "replicas": [
            {
                "replica": member.replica,
                "public_key": member.public_key.hex(),
                "entity_id": member.entity_id,
                "entity_name": member.entity_name,
            }
            for member in point.replica_set.members
        ],
    }


def _read_observed(value: Json) -> tuple[ObservedTrust, ...]:
    rows = _READ.array(value, "observed", OBSERVED_MAX)
    return tuple(observed_of(row, f"observed[{at}]", _READ) for at, row in enumerate(rows))


def _read_chain(value: Json, path: str) -> ChainTrust:
    is_named = isinstance(value, dict) and "restart_authorities" in value
    wanted = "chain_id genesis_hash checkpoints" + (" restart_authorities" if is_named else "")
    members = _READ.members(value, path, wanted)
    chain_id = _READ.text(members["chain_id"], f"{path}.chain_id", 64)
    points = _READ.array(members["checkpoints"], f"{path}.checkpoints", CHECKPOINTS_MAX)
    return ChainTrust(
        chain_id=chain_id,
        genesis_hash=_READ.hex(members["genesis_hash"], f"{path}.genesis_hash", 32),
        checkpoints=tuple(
            _read_checkpoint(chain_id, point, f"{path}.checkpoints[{index}]")
            for index, point in enumerate(points)
        ),
        authorities=_read_authorities(members["restart_authorities"], path) if is_named else None,
    )


def _read_authorities(value: Json, path: str) -> RestartAuthorities:
    try:
        return RestartAuthorities.from_json(value)
    except ProofError as error:
        raise _refusal(f"{path}.restart_authorities: {error.detail}") from error


def _read_checkpoint(chain_id: str, value: Json, path: str) -> Checkpoint:
    names = value.keys() if isinstance(value, dict) else ()
    optional = [name for name in ("jailed", "lineage") if name in names]
    members = _READ.members(value, path, " ".join(["epoch height header_hash replicas", *optional]))
    jailed, lineage = list[Json](), b""
    if "jailed" in members:
        jailed = _READ.array(members["jailed"], f"{path}.jailed", REPLICAS_MAX)
    if "lineage" in members:
        lineage = _READ.hex(members["lineage"], f"{path}.lineage", LINEAGE_BYTES)
    epoch = _READ.natural(members["epoch"], f"{path}.epoch")
    replicas = _READ.array(members["replicas"], f"{path}.replicas", REPLICAS_MAX)
    return Checkpoint(
        epoch=epoch,
        height=_READ.natural(members["height"], f"{path}.height"),
        header_hash=_READ.hex(members["header_hash"], f"{path}.header_hash", 32),
        replica_set=ReplicaSet(
            chain_id,
            epoch,
            tuple(
                _read_member(member, f"{path}.replicas[{index}]")
                for index, member in enumerate(replicas)
            ),
            tuple(_READ.natural(each, f"{path}.jailed") for each in jailed),
            lineage,
        ),
    )


def _read_member(value: Json, path: str) -> Member:
    members = _READ.members(value, path, "replica public_key entity_id entity_name")
    return Member(
        replica=_READ.natural(members["replica"], f"{path}.replica"),
        public_key=_READ.hex(members["public_key"], f"{path}.public_key", PUBLIC_KEY_BYTES),
        entity_id=_READ.text(members["entity_id"], f"{path}.entity_id", 64),
        entity_name=_READ.text(members["entity_name"], f"{path}.entity_name", 512),
    )


def _refusal(detail: str) -> ProofError:
    return ProofError(_PIECE, detail, _CODE)


_READ: Final = MemberReader(_refusal)
