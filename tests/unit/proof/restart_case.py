"""A restart that holds: four replicas of four entities, the last two are replaced."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from guqiao_sdk.proof.header import BlockHeader, Verify
from guqiao_sdk.proof.json_values import Json, canonical_json
from guqiao_sdk.proof.quorum import Member, ReplicaSet
from guqiao_sdk.proof.restart import (
    Approval,
    Remaining,
    Restart,
    RestartAuthorities,
    RestartStatement,
    Role,
    Signer,
    approval_sign_bytes,
    restarted_set,
    signers_of,
)
from guqiao_sdk.proof.restart_rules import verify_restart
from services.consensus.domain.ledger.state_tree import apply, changes_of, prove
from tests.unit.proof.proof_keys import START_MS, FakeKeys, Keys, Replicas

GENESIS_HASH = b"g" * 32
HEIGHT = 40


@dataclass
class RestartCase:
    """Everybody's keys, by name; `records` are the governors' records in the state."""

    keys: Keys = field(default_factory=FakeKeys)
    records: dict[str, dict[str, Json]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for member in self.old.set.members:
            self.records.setdefault(member.entity_id, self.record(member.entity_id))

    @property
    def old(self) -> Replicas:
        return Replicas(self.keys)

    @property
    def authorities(self) -> RestartAuthorities:
        return RestartAuthorities(self.keys.public_key("csrc"), self.keys.public_key("province"))

    def record(self, entity: str, **changes: Json) -> dict[str, Json]:
        """A governor's record, as the identity contract keeps it."""
        key: dict[str, Json] = {
            "public_key": self.keys.public_key(f"governor/{entity}").hex(),
            "not_before_ms": 0,
            "not_after_ms": START_MS * 2,
            "revoked": False,
        }
        record: dict[str, Json] = {
            "did": f"did:rem:shandong:{entity}.governor",
            "organisation": f"did:rem:shandong:{entity}",
            "roles": ["governor"],
            "active": True,
            "keys": {"k1": key},
        }
        return {**record, **changes}

    def with_key(self, entity: str, **changes: Json) -> dict[str, Json]:
        """The same, with a change of its key."""
        keys = self.record(entity)["keys"]
        assert isinstance(keys, dict)
        key = keys["k1"]
        assert isinstance(key, dict)
        return self.record(entity, keys={"k1": {**key, **changes}})

    def new_set(self, *kept: int) -> ReplicaSet:
        """The set of epoch 1: these replicas stay, the others are of new entities."""
        old, new = self.old.set.members, Replicas(self.keys, epoch=1).set.members
        members = tuple(
            old[at]
            if at in kept
            else Member(at, new[at].public_key, f"new-entity-{at}", f"新机构{at}")
            for at in range(4)
        )
        return restarted_set(self.header(), self.old.set, members)

    def state(self) -> Mapping[bytes, bytes]:
        """The state under the header."""
        return {
            f"identity/did/{record['did']}".encode(): canonical_json(record)
            for record in self.records.values()
        }

    def header(self, height: int = HEIGHT, tag: str = "") -> BlockHeader:
        pages: dict[bytes, bytes] = {}
        update = apply(pages.__getitem__, None, changes_of(dict(self.state())), height)
        return replace(self.old.header(height, tag=tag), state_root=update.root)

    def remaining(self, entity: str, header: BlockHeader) -> Remaining:
        pages: dict[bytes, bytes] = {}
        update = apply(pages.__getitem__, None, changes_of(dict(self.state())), header.height)
        pages.update(update.pages)
        record = self.records[entity]
        proof = prove(pages.__getitem__, update.version, f"identity/did/{record['did']}".encode())
        return Remaining(entity, header.height, header.hash(), canonical_json(record), proof)

    def statement(self, new_set: ReplicaSet | None = None) -> RestartStatement:
        header = self.header()
        wanted = new_set or self.new_set(0, 1)
        statement = RestartStatement(
            genesis_hash=GENESIS_HASH,
            header=header,
            certificate=self.old.certify(header),
            old_set=self.old.set,
            new_set=wanted,
            remaining=(),
            governors=(),
            reason="机房失火",
            time_ms=header.block_time_ms + 1,
        )
        staying = statement.entities_staying()
        return replace(
            statement, remaining=tuple(self.remaining(entity, header) for entity in staying)
        )

    def approval(self, statement: RestartStatement, signer: Signer, name: str = "") -> Approval:
        """Signed with the signer's key, or with that of `name`."""
        role, entity = signer
        own = f"governor/{entity}" if role is Role.ENTITY else role.name.lower()
        key = name or own
        signature = self.keys.sign(key, approval_sign_bytes(statement, role, entity))
        return Approval(role, entity, self.keys.public_key(key), signature)

    def approve(self, statement: RestartStatement, signers: Iterable[Signer] = ()) -> Restart:
        """Signed by all who must, or by these."""
        chosen = tuple(signers) or signers_of(statement)
        return Restart(statement, tuple(self.approval(statement, each) for each in chosen))

    def restart(self) -> Restart:
        return self.approve(self.statement())

    @property
    def verify(self) -> Verify:
        return self.keys.verify

    def judge(self, restart: Restart) -> None:
        verify_restart(
            restart,
            genesis_hash=GENESIS_HASH,
            authorities=self.authorities,
            old_set=self.old.set,
            known_header_hash=None,
            verify=self.verify,
        )
