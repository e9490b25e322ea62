"""How a certificate names its holder: one URI in the subject's alternative names.

`guqiao:replica:<chain>/<number>`, `guqiao:service:<domain>/<service>`, or a user's DID,
`did:rem:<chain>:<code>`. A link pins this name; the organisation is read from the subject.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Final

from guqiao_sdk.gm.errors import GmError

IDENTITY_SIZE_MAX: Final = 200


class IdentityKind(StrEnum):
    """What sort of holder an identity names."""

    REPLICA = "replica"
    SERVICE = "service"
    USER = "user"


_FORMS: Final = {
    IdentityKind.REPLICA: re.compile(r"guqiao:replica:[a-z0-9-]+/[0-9]+"),
    IdentityKind.SERVICE: re.compile(r"guqiao:service:[a-z0-9-]+/[a-z0-9-]+"),
    IdentityKind.USER: re.compile(r"did:rem:[A-Za-z0-9._-]+(:[A-Za-z0-9._-]+)*"),
}


class IdentityMalformedError(GmError):
    """A text is none of the three forms of identity."""

    code = "IDENTITY_MALFORMED"


def identity_kind(identity: str) -> IdentityKind:
    """Return the kind of `identity`, or raise `IdentityMalformedError`."""
    if len(identity) <= IDENTITY_SIZE_MAX:
        for kind, form in _FORMS.items():
            if form.fullmatch(identity):
                return kind
    shown = identity[:IDENTITY_SIZE_MAX]
    raise IdentityMalformedError(
        f"{shown!r} is no identity: use guqiao:replica:CHAIN/NUMBER, "
        "guqiao:service:DOMAIN/SERVICE or did:rem:CHAIN:CODE",
        f"{shown!r} 不是有效身份:请使用 guqiao:replica:链/编号、"
        "guqiao:service:域/服务 或 did:rem:链:代码",
    )


def identity_domain(identity: str) -> str:
    """Return the domain, or the chain, that `identity` is of; raise `IdentityMalformedError`."""
    identity_kind(identity)
    return identity.split(":")[2].partition("/")[0]


def replica_identity(chain: str, number: int) -> str:
    """Return the identity of replica `number` of `chain`."""
    identity = f"guqiao:replica:{chain}/{number}"
    identity_kind(identity)
    return identity


def service_identity(domain: str, service: str) -> str:
    """Return the identity of `service` in `domain`."""
    identity = f"guqiao:service:{domain}/{service}"
    identity_kind(identity)
    return identity
