"""Reads what the contract `documents` is given, and holds a publication against its tier.

PUBLIC: the whole content in the clear. RESTRICTED: the whole, sealed to its readers. NONPUBLIC: a
description, and nothing of the body (requirements section 8).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from guqiao_sdk.personal_data import Search, find_personal_data
from guqiao_sdk.proof.json_values import Json, canonical_json
from guqiao_sdk.sealed_form import Sealed, SealedFormError, parse_sealed
from services.consensus.domain.contracts.host import Refusal
from services.consensus.domain.contracts.identity_record import DID, ROLE
from services.consensus.domain.contracts.packets_host import (
    hex_bytes,
    natural,
    require_members,
    text,
)
from services.consensus.domain.contracts.template.vocabulary import Tier

PUBLISH: Final = "publish"
"""The method whose body may be large."""
CONTENT_BYTES_MAX: Final = 256 * 1024
ORDER_BYTES_MAX: Final = 8 * 1024
"""What stands in the clear of a publication, and of any other call, in canonical JSON."""
TITLE_LENGTH_MAX: Final = 200
REASON_LENGTH_MAX: Final = 500
ACCOUNT_LENGTH_MAX: Final = 64
DIGEST_BYTES: Final = 32

_AREA: Final = re.compile(r"[a-z][a-z0-9_-]{1,47}")
_DOCUMENT: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_WORD: Final = re.compile(r"[a-z][a-z0-9_]{1,31}")
_REFERENCE: Final = re.compile(r"[0-9a-f]{32}")

_COMMON: Final = ("document", "version", "area", "type", "title")
_DESCRIPTION: Final = ("digest", "size", "owner", "reference")
_PAYLOAD: Final = ("content", "sealed", *_DESCRIPTION)
_CONDITIONS: Final = {
    "role": "kind role",
    "holder": "kind product account",
    "qualified": "kind product account",
}
"""The kinds of condition with their members (G2-17-6): a role on this chain, a shareholder of a
product, an investor qualified for one."""


@dataclass(frozen=True, slots=True)
class Publication:
    """One version to publish. Exactly one of content, sealed and description is there."""

    document: str
    version: int
    area: str
    type: str
    title: str
    content: Json = None
    sealed: Sealed | None = None
    description: Mapping[str, Json] | None = None


def document_id(value: Json) -> str:
    """A document's id."""
    return _match(_DOCUMENT, value, "document")


def area_id(value: Json) -> str:
    """An area's id."""
    return _match(_AREA, value, "area")


def purpose_code(value: Json) -> str:
    """What data are read for, as a word."""
    return _match(_WORD, value, "purpose")


def did(value: Json, field: str) -> str:
    """A DID."""
    return _match(DID, value, field)


def tier(value: Json) -> Tier:
    """A tier by its name."""
    if not isinstance(value, str) or value not in Tier.__members__:
        names = ", ".join(Tier.__members__)
        raise Refusal("BODY_MALFORMED", field="tier", fault=f"not one of {names}")
    return Tier(value)


def title(value: Json) -> str:
    """A title in the clear."""
    return text(value, "title", TITLE_LENGTH_MAX)


def reason(value: Json) -> str:
    """A reason in the clear."""
    return text(value, "reason", REASON_LENGTH_MAX)


def condition(value: Json) -> dict[str, Json] | None:
    """What must hold whenever a grant is used; None: nothing."""
    if value is None:
        return None
    kind = value.get("kind") if isinstance(value, dict) else None
    if not isinstance(value, dict) or not isinstance(kind, str) or kind not in _CONDITIONS:
        known = ", ".join(_CONDITIONS)
        raise Refusal("BODY_MALFORMED", field="condition.kind", fault=f"not one of {known}")
    require_members(value, "condition.", _CONDITIONS[kind])
    if kind == "role":
        return {"kind": kind, "role": _match(ROLE, value["role"], "condition.role")}
    return {
        "kind": kind,
        "product": text(value["product"], "condition.product", ACCOUNT_LENGTH_MAX),
        "account": text(value["account"], "condition.account", ACCOUNT_LENGTH_MAX),
    }


def area_of_publication(body: Mapping[str, Json]) -> str:
    """The area that a publication names, whose tier says how the rest is read."""
    if "area" not in body:
        raise Refusal("BODY_MALFORMED", field="area", fault="missing")
    return area_id(body["area"])


def read_publication(body: Mapping[str, Json], wanted: Tier) -> Publication:
    """Read a publication in an area of this tier, or refuse: what is in the wrong place first."""
    payload = _payload_of_tier(body, wanted)
    require_members(body, "", " ".join((*_COMMON, *payload)))
    return Publication(
        document=document_id(body["document"]),
        version=natural(body["version"], "version"),
        area=area_id(body["area"]),
        type=_match(_WORD, body["type"], "type"),
        title=title(body["title"]),
        content=_content(body["content"]) if wanted is Tier.PUBLIC else None,
        sealed=_sealed(body["sealed"]) if wanted is Tier.RESTRICTED else None,
        description=_described(body) if wanted is Tier.NONPUBLIC else None,
    )


def check_clear(method: str, body: Mapping[str, Json], *, search: Search) -> None:
    """Refuse a body that names a number of a person where it stands in the clear, which is
    everywhere but in a sealed form: on chain it could never be erased. It is bounded first, for the
    search takes its time.
    """
    clear: Json = {name: value for name, value in body.items() if name != "sealed"}
    bytes_max = CONTENT_BYTES_MAX if method == PUBLISH else ORDER_BYTES_MAX
    if len(canonical_json(clear)) > bytes_max:
        raise Refusal("LIMIT_EXCEEDED", limit="clear_bytes", maximum=bytes_max)
    found = find_personal_data(clear, search=search)
    if found is not None:
        raise Refusal("TIER_NONPUBLIC_ONCHAIN", kind=found.kind.value, place=found.path)


def check_place(body: Mapping[str, Json], wanted: Tier) -> None:
    """Refuse a publication that puts something where its area's tier forbids it."""
    _payload_of_tier(body, wanted)


def _payload_of_tier(body: Mapping[str, Json], wanted: Tier) -> tuple[str, ...]:
    """The members that this tier has, if the body puts nothing where it may not be."""
    given = [name for name in _PAYLOAD if name in body]
    match wanted:
        case Tier.PUBLIC:
            if "content" not in given or "sealed" in given:
                raise Refusal("TIER_PUBLIC_NOT_ONCHAIN", given=[*given])
            return ("content",)
        case Tier.RESTRICTED:
            if "content" in given:
                raise Refusal("TIER_RESTRICTED_IN_CLEAR", given=[*given])
            if "sealed" not in given:
                raise Refusal("TIER_RESTRICTED_NOT_ONCHAIN", given=[*given])
            return ("sealed",)
        case Tier.NONPUBLIC:
            if "content" in given or "sealed" in given:
                raise Refusal("TIER_NONPUBLIC_ONCHAIN", given=[*given])
            return _DESCRIPTION


def _content(value: Json) -> Json:
    if not isinstance(value, str | dict) or not value:
        raise Refusal("BODY_MALFORMED", field="content", fault="neither a text nor an object")
    return value


def _sealed(value: Json) -> Sealed:
    try:
        return parse_sealed(value)
    except SealedFormError as error:
        raise Refusal("BODY_MALFORMED", field=error.field, fault=error.fault) from None


def _described(body: Mapping[str, Json]) -> dict[str, Json]:
    if len(hex_bytes(body["digest"], "digest", DIGEST_BYTES)) != DIGEST_BYTES:
        raise Refusal("BODY_MALFORMED", field="digest", fault=f"not {DIGEST_BYTES} bytes")
    return {
        "digest": body["digest"],
        "size": natural(body["size"], "size"),
        "owner": did(body["owner"], "owner"),
        "reference": _match(_REFERENCE, body["reference"], "reference"),
    }


def _match(pattern: re.Pattern[str], value: Json, field: str) -> str:
    if not isinstance(value, str) or pattern.fullmatch(value) is None:
        raise Refusal("BODY_MALFORMED", field=field, fault=f"not of the form {pattern.pattern}")
    return value
