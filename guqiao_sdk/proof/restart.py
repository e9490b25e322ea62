"""The restart of a chain that lost its quorum: the statement, who must approve it, what it shows.

More than f entities are gone, so nobody can certify the next set. A statement names the last
certified header and a new set; CSRC, the province and every entity of the old set that stays in the
new one sign it. Governance keys are proven by the state under that header, the two authorities are
what the verifier was given: nothing is taken on one party's word (docs/protocol/pbft.md, Q1 to Q9).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Final, TypeAlias

from guqiao_sdk.proof.canonical import MalformedError, Reader, Writer, digest, tagged
from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.proof.header import (
    HASH_BYTES,
    SIGNATURE_BYTES,
    BlockHeader,
    FinalityCertificate,
)
from guqiao_sdk.proof.json_values import Json
from guqiao_sdk.proof.quorum import (
    ENTITY_ID_BYTES_MAX,
    PUBLIC_KEY_BYTES,
    REPLICAS_MAX,
    Member,
    ReplicaSet,
)
from guqiao_sdk.proof.state_proof import StateProof

REASON_BYTES_MAX: Final = 2_000
RECORD_BYTES_MAX: Final = 65_536
RESTART_BYTES_MAX: Final = 512 * 1024
GOVERNORS_MAX: Final = REPLICAS_MAX

UNAVAILABLE: Final = "RESTART_UNAVAILABLE"
INVALID: Final = "RESTART_INVALID"
OTHER_GENESIS: Final = "RESTART_OTHER_GENESIS"
TOO_LOW: Final = "RESTART_TOO_LOW"
QUORUM_STANDS: Final = "RESTART_QUORUM_STANDS"
APPROVAL_MISSING: Final = "RESTART_APPROVAL_MISSING"
APPROVAL_INVALID: Final = "RESTART_APPROVAL_INVALID"

_TAG: Final = "guqiao/restart/1"
_LINEAGE_TAG: Final = "guqiao/restart-lineage/1"
_APPROVAL_TAG: Final = "guqiao/restart-approval/1"


class Role(IntEnum):
    """As whom somebody approves. A number is never used twice."""

    CSRC = 1
    PROVINCE = 2
    ENTITY = 3


Signer: TypeAlias = tuple[Role, str]
"""As whom, and of which entity; empty for CSRC and the province."""


@dataclass(frozen=True, slots=True)
class RestartAuthorities:
    """The governance keys of CSRC and of the province, as genesis or a trust file names them."""

    csrc: bytes
    province: bytes

    def check(self) -> None:
        """Raise `ProofError` unless these are two different keys."""
        for key in (self.csrc, self.province):
            if len(key) != PUBLIC_KEY_BYTES or key[0] != 4 or not any(key[1:]):
                raise ProofError(
                    "restart authorities", "a key is not an SM2 point of 65 bytes", INVALID
                )
        if self.csrc == self.province:
            raise ProofError("restart authorities", "one key for both of them", INVALID)

    def to_json(self) -> dict[str, Json]:
        """The member `restart_authorities` of a genesis, a trust file or a registration."""
        return {"csrc": self.csrc.hex(), "province": self.province.hex()}

    @staticmethod
    def from_json(value: Json) -> RestartAuthorities:
        """Read `to_json`'s value; raises `ProofError`."""
        match value:
            case {"csrc": str(csrc), "province": str(province)}:
                try:
                    found = RestartAuthorities(bytes.fromhex(csrc), bytes.fromhex(province))
                except ValueError as error:
                    raise ProofError("restart authorities", "not in hex", INVALID) from error
                found.check()
                if found.to_json() == value:
                    return found
        raise ProofError(
            "restart authorities", "not exactly csrc and province, each a key in hex", INVALID
        )


@dataclass(frozen=True, slots=True)
class Remaining:
    """An entity of the old set that stays: the highest certified block that it holds (height 0 and
    a hash of zeros where its folder is lost), and a governor of it with the proof of his record.
    """

    entity_id: str
    height: int
    header_hash: bytes
    record: bytes
    proof: StateProof

    def write(self, writer: Writer) -> None:
        """Append the canonical encoding."""
        writer.text(self.entity_id).u64(self.height).raw(self.header_hash)
        writer.blob(self.record).blob(self.proof.encode())

    @staticmethod
    def read(reader: Reader) -> Remaining:
        """Read what `write` wrote; raises `MalformedError`."""
        return Remaining(
            reader.text(ENTITY_ID_BYTES_MAX),
            reader.u64(),
            reader.raw(HASH_BYTES),
            reader.blob(RECORD_BYTES_MAX),
            StateProof.decode(reader.blob(RECORD_BYTES_MAX)),
        )


def restarted_set(
    header: BlockHeader, old_set: ReplicaSet, members: tuple[Member, ...]
) -> ReplicaSet:
    """The set of `members` that goes on from `header`, with a lineage which no other restart gives:
    a lost replica may have signed in an epoch of the same number, and whoever forgot that signs
    anew.
    """
    plain = ReplicaSet(old_set.chain_id, old_set.epoch + 1, members)
    replaced = header.hash() + old_set.hash() + plain.encode()
    return replace(plain, lineage=digest(_LINEAGE_TAG, replaced))


@dataclass(frozen=True, slots=True)
class RestartStatement:
    """What is approved. `old_set` is the set that should certify the height after `header`;
    `governors` are identities to set with the new set, canonical JSON in the form of genesis.
    """

    genesis_hash: bytes
    header: BlockHeader
    certificate: FinalityCertificate
    old_set: ReplicaSet
    new_set: ReplicaSet
    remaining: tuple[Remaining, ...]
    governors: tuple[bytes, ...]
    reason: str
    time_ms: int

    @property
    def certificate_is_exact(self) -> bool:
        """Whether none of its signatures can be left away: it has as many as its set's quorum."""
        is_of_old = self.header.epoch == self.old_set.epoch
        return not is_of_old or len(self.certificate.signatures) == self.old_set.quorum

    @property
    def chain_id(self) -> str:
        """The chain that is restarted."""
        return self.header.chain_id

    @property
    def height(self) -> int:
        """The last height that stands; the new set certifies from the next one on."""
        return self.header.height

    @property
    def epoch(self) -> int:
        """The epoch that begins."""
        return self.new_set.epoch

    def encode(self) -> bytes:
        """The canonical encoding."""
        writer = Writer().raw(self.genesis_hash).blob(self.header.encode())
        writer.blob(self.certificate.encode())
        writer.blob(self.old_set.encode()).blob(self.new_set.encode())
        writer.u32(len(self.remaining))
        for each in self.remaining:
            each.write(writer)
        writer.blobs(self.governors).text(self.reason).u64(self.time_ms)
        return bytes(writer)

    @staticmethod
    def decode(data: bytes) -> RestartStatement:
        """Read `encode`'s bytes; raises `MalformedError`. The rules are `check_statement`'s."""
        reader = Reader(data)
        statement = RestartStatement(
            genesis_hash=reader.raw(HASH_BYTES),
            header=BlockHeader.decode(reader.blob()),
            certificate=FinalityCertificate.decode(reader.blob()),
            old_set=ReplicaSet.decode(reader.blob()),
            new_set=ReplicaSet.decode(reader.blob()),
            remaining=tuple(Remaining.read(reader) for _ in range(reader.count(REPLICAS_MAX))),
            governors=reader.blobs(GOVERNORS_MAX),
            reason=reader.text(REASON_BYTES_MAX),
            time_ms=reader.u64(),
        )
        reader.end()
        return statement

    def digest(self) -> bytes:
        """What people compare, and name the statement by: 32 bytes."""
        return digest(_TAG, self.encode())

    def entities_staying(self) -> list[str]:
        """The entities of the old set that are in the new one, in the order of the old."""
        new = {member.entity_id for member in self.new_set.members}
        old = dict.fromkeys(member.entity_id for member in self.old_set.members)
        return [entity for entity in old if entity in new]


@dataclass(frozen=True, slots=True)
class Approval:
    """One signature under a statement; `entity_id` is empty for CSRC and the province."""

    role: Role
    entity_id: str
    public_key: bytes
    signature: bytes

    @property
    def signer(self) -> Signer:
        """Who signed."""
        return self.role, self.entity_id


@dataclass(frozen=True, slots=True)
class Restart:
    """A statement with the approvals that it has so far, in the order CSRC, province, entities."""

    statement: RestartStatement
    approvals: tuple[Approval, ...] = ()

    def encode(self) -> bytes:
        """The canonical encoding."""
        writer = Writer().blob(self.statement.encode()).u32(len(self.approvals))
        for each in self.approvals:
            writer.u8(each.role).text(each.entity_id).raw(each.public_key).raw(each.signature)
        return bytes(writer)

    @staticmethod
    def decode(data: bytes) -> Restart:
        """Read `encode`'s bytes; raises `MalformedError`."""
        if len(data) > RESTART_BYTES_MAX:
            raise MalformedError(f"{len(data)} bytes, at most {RESTART_BYTES_MAX} allowed")
        reader = Reader(data)
        statement = RestartStatement.decode(reader.blob())
        approvals = tuple(_read_approval(reader) for _ in range(reader.count(REPLICAS_MAX + 2)))
        reader.end()
        return Restart(statement, approvals)

    def with_approval(self, approval: Approval) -> Restart:
        """The same with one more, in its place; the same signer's earlier one is replaced."""
        wanted = signers_of(self.statement)
        kept = [each for each in self.approvals if each.signer != approval.signer]
        ordered = sorted((*kept, approval), key=lambda each: wanted.index(each.signer))
        return Restart(self.statement, tuple(ordered))

    def missing(self) -> list[Signer]:
        """Who has not signed yet."""
        signed = {each.signer for each in self.approvals}
        return [signer for signer in signers_of(self.statement) if signer not in signed]


def signers_of(statement: RestartStatement) -> list[Signer]:
    """All who must sign, in order."""
    entities = [(Role.ENTITY, each.entity_id) for each in statement.remaining]
    return [(Role.CSRC, ""), (Role.PROVINCE, ""), *entities]


def name_of(signer: Signer) -> str:
    """A signer as messages name him: csrc, province or the entity's code."""
    role, entity_id = signer
    return entity_id if role is Role.ENTITY else role.name.lower()


def approval_sign_bytes(statement: RestartStatement, role: Role, entity_id: str) -> bytes:
    """The bytes under an approval: chain, epoch and height are within the statement."""
    return tagged(_APPROVAL_TAG, bytes([role]), entity_id.encode(), statement.encode())


def _read_approval(reader: Reader) -> Approval:
    number, entity_id = reader.u8(), reader.text(ENTITY_ID_BYTES_MAX)
    if number not in list(Role) or (number == Role.ENTITY) != bool(entity_id):
        raise MalformedError(f"{number} with {entity_id!r} is nobody who approves")
    key, signature = reader.raw(PUBLIC_KEY_BYTES), reader.raw(SIGNATURE_BYTES)
    return Approval(Role(number), entity_id, key, signature)
