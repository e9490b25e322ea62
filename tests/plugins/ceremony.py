"""The people of a ceremony for a lost quorum: who approves, with their keys."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from guqiao_sdk.gm.provider import GmProvider, PrivateKey
from guqiao_sdk.proof.json_values import Json, canonical_json
from guqiao_sdk.proof.quorum import Member
from guqiao_sdk.proof.restart import (
    Approval,
    Restart,
    RestartAuthorities,
    RestartStatement,
    Role,
    approval_sign_bytes,
    signers_of,
)
from services.consensus.domain.ledger.genesis import Genesis
from services.consensus.restart import Survivor, compose
from services.consensus.store import ChainStore, StoreOptions

OPTIONS = StoreOptions(reserve_bytes=0)


@dataclass(frozen=True, slots=True)
class Authorities:
    """CSRC and the province, with their keys."""

    csrc: PrivateKey
    province: PrivateKey

    @staticmethod
    def create(provider: GmProvider) -> Authorities:
        return Authorities(provider.keygen(), provider.keygen())

    @property
    def public(self) -> RestartAuthorities:
        return RestartAuthorities(self.csrc.public_key, self.province.public_key)

    @property
    def genesis_members(self) -> dict[str, Json]:
        """What genesis says of them."""
        return {"restart_authorities": self.public.to_json()}


@dataclass(frozen=True, slots=True)
class Ceremony:
    """Everybody who may have to sign. `governors` by the code of their entity."""

    provider: GmProvider
    authorities: Authorities
    governors: Mapping[str, PrivateKey]

    def approval(self, statement: RestartStatement, role: Role, entity_id: str = "") -> Approval:
        """One signature, with the right key."""
        match role:
            case Role.CSRC:
                key = self.authorities.csrc
            case Role.PROVINCE:
                key = self.authorities.province
            case Role.ENTITY:
                key = self.governors[entity_id]
        signature = self.provider.sign(key, approval_sign_bytes(statement, role, entity_id))
        return Approval(role, entity_id, key.public_key, signature)

    def approve(self, statement: RestartStatement) -> Restart:
        """Signed by all who must."""
        return Restart(
            statement, tuple(self.approval(statement, *signer) for signer in signers_of(statement))
        )


def open_folders(genesis: Genesis, folders: Mapping[int, Path]) -> list[Survivor]:
    """The folders of stopped replicas; close them."""
    return [
        Survivor(number, ChainStore.open(folder, genesis, replica=number, options=OPTIONS), genesis)
        for number, folder in folders.items()
    ]


def statement_of(
    genesis: Genesis,
    folders: Mapping[int, Path],
    members: Sequence[Member],
    governors: Sequence[Json] = (),
) -> RestartStatement:
    """The statement that these survivors lead to."""
    survivors = open_folders(genesis, folders)
    try:
        return compose(
            survivors,
            tuple(members),
            tuple(canonical_json(each) for each in governors),
            reason="两家机构的机房毁于火灾",
            time_ms=time.time_ns() // 1_000_000,
        )
    finally:
        for each in survivors:
            each.store.close()
