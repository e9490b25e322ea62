"""What may be published in which tier: each way to put it in the wrong place has a code."""

from __future__ import annotations

from typing import Any

import pytest

from guqiao_sdk.proof.json_values import Json
from services.consensus.domain.contracts.document_form import (
    CONTENT_BYTES_MAX,
    ORDER_BYTES_MAX,
    TITLE_LENGTH_MAX,
)
from services.consensus.domain.contracts.host import Party
from tests.unit.contracts.document_market import (
    ADMIN,
    ANNE,
    BO,
    CHECKER,
    DESCRIPTION,
    EVE,
    MAKER,
    OTHER_CHECKER,
    OTHER_MAKER,
    OWNER,
    DocumentMarket,
    key_of,
    provider,
    sealed_for,
)

CONTENT: dict[str, Any] = {"name": "齐鲁演示科技", "capital": 5_000_000}
PUBLIC: dict[str, Any] = {"area": "notices", "content": CONTENT}
NONPUBLIC: dict[str, Any] = {"area": "files", **DESCRIPTION}


def restricted(*readers: Party, **changes: Any) -> dict[str, Any]:
    return {"area": "offers", "sealed": sealed_for(*readers, **changes).to_json()}


# --- PUBLIC ---------------------------------------------------------------------------------------


@pytest.mark.req("G2-17-4")
@pytest.mark.parametrize("content", [CONTENT, "关于召开股东会的公告"])
def test_a_public_document_is_on_chain_whole_and_in_the_clear(content: Json) -> None:
    market = DocumentMarket()
    outcome = market.publish(area="notices", content=content)
    assert outcome.code is None
    kept = market.version()
    assert (kept["content"], kept["tier"]) == (content, "PUBLIC")
    assert (kept["maker"], kept["checker"]) == (MAKER.did, CHECKER.did)
    [(topic, facts)] = outcome.events
    assert topic == "documents.published"
    assert isinstance(facts, dict)
    assert facts["digest"] == kept["digest"]
    assert "content" not in facts


@pytest.mark.req("G2-17-4")
@pytest.mark.parametrize(
    "payload",
    [
        {"digest": "ab" * 32},
        {"digest": "ab" * 32, "reference": "5a" * 16},
        {**DESCRIPTION},
        {},
        {"sealed": {}},
        {"content": CONTENT, "sealed": {}},
    ],
)
def test_a_public_document_is_no_digest_and_no_ciphertext(payload: dict[str, Any]) -> None:
    market = DocumentMarket()
    refused = market.publish(area="notices", **payload)
    assert refused.code == "TIER_PUBLIC_NOT_ONCHAIN"
    assert refused.fields["given"] == [
        name for name in ("content", "sealed", "digest", "size", "owner", "reference")
        if name in payload
    ]  # fmt: skip
    assert market.record("document/report") is None


@pytest.mark.req("G2-17-7")
@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("110101199003070011 ", "ID_NUMBER"),
        ("13800138000", "PHONE"),
        ("6222021234567890128", "BANK_ACCOUNT"),
    ],
)
def test_numbers_of_persons_are_kept_off_the_chain(value: str, kind: str) -> None:
    market = DocumentMarket()
    places: tuple[dict[str, Any], ...] = (
        {**PUBLIC, "content": f"联系方式：{value}"},
        {**PUBLIC, "content": {"a": [{"b": value}]}},
        {**PUBLIC, "title": f"公告 {value}"},
        {**NONPUBLIC, "title": f"材料 {value}"},
        {**PUBLIC, "document": value.strip()},
    )
    for body in places:
        refused = market.publish(**body)
        assert (refused.code, refused.fields.get("kind")) == ("TIER_NONPUBLIC_ONCHAIN", kind)
        assert value.strip() not in str(refused.fields)
    assert market.record("document/report") is None


@pytest.mark.parametrize("content", ["", {}, [], 7, None, True])
def test_a_content_says_something(content: Json) -> None:
    assert DocumentMarket().publish(area="notices", content=content).code == "BODY_MALFORMED"


def test_what_stands_in_the_clear_has_its_bounds() -> None:
    market = DocumentMarket()
    large = market.publish(area="notices", content="公" * (CONTENT_BYTES_MAX // 3))
    limits = {"limit": "clear_bytes", "maximum": CONTENT_BYTES_MAX}
    assert (large.code, large.fields) == ("LIMIT_EXCEEDED", limits)
    assert market.publish(area="notices", content="公" * (CONTENT_BYTES_MAX // 3 - 99)).code is None
    order = market.act((ADMIN, CHECKER), "revoke", reason="x" * ORDER_BYTES_MAX)
    assert (order.code, order.fields["maximum"]) == ("LIMIT_EXCEEDED", ORDER_BYTES_MAX)


# --- RESTRICTED -----------------------------------------------------------------------------------


@pytest.mark.req("G2-17-5", "G2-19-1")
def test_a_restricted_document_is_on_chain_whole_and_opens_for_its_readers_only() -> None:
    market = DocumentMarket()
    market.grant("offers", ANNE)
    market.grant("offers", BO)
    assert market.publish(**restricted(ANNE, BO)).code is None
    assert market.opened(ANNE) == market.opened(BO) == b"secret"
    with pytest.raises(Exception, match="sealed to others"):
        market.opened(EVE)
    assert market.version()["readers"] == {ANNE.did: 1, BO.did: 2}
    assert b"secret" not in b"".join(market.host.store.values())


@pytest.mark.req("G2-17-5")
@pytest.mark.parametrize("payload", [{"digest": "ab" * 32}, {**DESCRIPTION}, {}])
def test_a_restricted_document_is_no_digest(payload: dict[str, Any]) -> None:
    refused = DocumentMarket().publish(area="offers", **payload)
    assert refused.code == "TIER_RESTRICTED_NOT_ONCHAIN"


@pytest.mark.req("G2-17-5")
def test_a_restricted_document_is_not_in_the_clear() -> None:
    market = DocumentMarket()
    for body in ({"content": CONTENT}, {"content": CONTENT, **restricted(ANNE)}):
        refused = market.publish(**{"area": "offers", **body})
        assert refused.code == "TIER_RESTRICTED_IN_CLEAR"


@pytest.mark.req("G2-17-5", "G2-17-6")
def test_envelopes_are_for_exactly_the_readers_in_force() -> None:
    market = DocumentMarket()
    market.grant("offers", ANNE)
    market.grant("offers", BO)
    refused = market.publish(**restricted(ANNE, EVE))
    assert refused.code == "DOCUMENT_READERS_OTHER"
    assert refused.fields == {
        "area": "offers", "missing": [BO.did], "missing_count": 1, "surplus": [EVE.did],
        "surplus_count": 1,
    }  # fmt: skip
    assert market.publish(**restricted(ANNE)).code == "DOCUMENT_READERS_OTHER"
    assert market.publish(**restricted(ANNE, BO, EVE)).code == "DOCUMENT_READERS_OTHER"
    assert market.record("document/report") is None
    assert market.publish(**restricted(ANNE, BO)).code is None


@pytest.mark.req("G2-17-6")
def test_a_revoked_reader_opens_old_versions_and_gets_no_envelope_in_new_ones() -> None:
    market = DocumentMarket()
    market.grant("offers", ANNE)
    market.grant("offers", BO)
    assert market.publish(**restricted(ANNE, BO)).code is None
    market.revoke("offers", BO)
    again = market.publish(version=2, **restricted(ANNE, BO, version=2))
    assert (again.code, again.fields["surplus"]) == ("DOCUMENT_READERS_OTHER", [BO.did])
    assert market.publish(version=2, **restricted(ANNE, version=2)).code is None
    assert market.opened(BO, version=1) == b"secret"
    with pytest.raises(Exception, match="sealed to others"):
        market.opened(BO, version=2)
    assert market.opened(ANNE, version=2) == b"secret"


@pytest.mark.req("G2-09-6", "G2-17-5")
@pytest.mark.parametrize(
    "changes", [{"revoked": True}, {"not_after_ms": 1}, {"not_before_ms": 2**50}]
)
def test_envelopes_are_under_keys_in_force(changes: dict[str, Any]) -> None:
    market = DocumentMarket()
    market.grant("offers", ANNE)
    body = restricted(ANNE)
    market.identify(ANNE, k1=changes, k2={})
    refused = market.publish(**body)
    assert (refused.code, refused.fields) == ("DOCUMENT_KEY_NOT_OF_READER", {"reader": ANNE.did})
    market.identify(ANNE, k1={}, k2={})
    assert market.publish(**body).code is None


@pytest.mark.req("G2-17-5")
def test_an_envelope_under_a_key_of_the_publishers_own_is_refused() -> None:
    market = DocumentMarket()
    market.grant("offers", ANNE)
    body = restricted(ANNE)
    row = body["sealed"]["envelopes"][0]
    own = key_of(MAKER.did).public_key
    row["public_key"], row["sealed_key"] = own.hex(), provider().sm2_encrypt(own, b"k" * 16).hex()
    assert market.publish(**body).code == "DOCUMENT_KEY_NOT_OF_READER"


def test_a_malformed_sealed_form_is_refused_with_its_place() -> None:
    market = DocumentMarket()
    market.grant("offers", ANNE)
    body = restricted(ANNE)
    body["sealed"]["nonce"] = "00"
    refused = market.publish(**body)
    assert (refused.code, refused.fields["field"]) == ("BODY_MALFORMED", "sealed.nonce")


# --- NONPUBLIC ------------------------------------------------------------------------------------


@pytest.mark.req("G2-17-8")
def test_of_a_nonpublic_body_the_description_is_on_chain() -> None:
    market = DocumentMarket()
    assert market.publish(**NONPUBLIC).code is None
    kept = market.version()
    described = {name: kept[name] for name in ("digest", "size", "owner", "reference")}
    assert described == DESCRIPTION
    assert (kept["type"], kept["tier"], kept["erased"]) == ("announcement", "NONPUBLIC", None)


@pytest.mark.req("G2-17-7")
@pytest.mark.parametrize("more", ["content", "sealed"])
@pytest.mark.parametrize("described", [True, False])
def test_no_nonpublic_body_is_on_chain_in_the_clear_or_as_ciphertext(
    more: str, described: bool
) -> None:
    market = DocumentMarket()
    payload: Json = CONTENT if more == "content" else sealed_for(ANNE).to_json()
    body: dict[str, Any] = {**(NONPUBLIC if described else {"area": "files"}), more: payload}
    refused = market.publish(**body)
    assert refused.code == "TIER_NONPUBLIC_ONCHAIN"
    assert market.record("document/report") is None


@pytest.mark.req("G2-17-8")
@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("digest", "ab" * 31), ("digest", "AB" * 32), ("digest", 7), ("size", 0), ("size", "1"),
        ("size", True), ("owner", "me"), ("owner", None), ("reference", "../../etc/passwd"),
        ("reference", "5A" * 16), ("reference", ""),
    ],
)  # fmt: skip
def test_a_description_is_exact(member: str, value: Json) -> None:
    market = DocumentMarket()
    refused = market.publish(**{**NONPUBLIC, member: value})
    assert (refused.code, refused.fields["field"]) == ("BODY_MALFORMED", member)
    body = dict(NONPUBLIC)
    del body[member]
    assert market.publish(**body).fields["field"] == member
    assert market.publish(**NONPUBLIC, more=1).fields == {"field": "more", "fault": "unknown"}


# --- Versions, and who publishes ------------------------------------------------------------------


def test_versions_count_from_one() -> None:
    market = DocumentMarket()
    wrong = market.publish(version=2, **PUBLIC)
    assert (wrong.code, wrong.fields) == (
        "DOCUMENT_VERSION_WRONG", {"document": "report", "expected": 1},
    )  # fmt: skip
    assert market.publish(**PUBLIC).code is None
    assert market.publish(**PUBLIC).fields["expected"] == 2
    assert market.publish(version=2, **PUBLIC).code is None
    assert market.record("document/report")["latest"] == 2
    assert market.version(version=1)["height"] < market.version(version=2)["height"]


@pytest.mark.req("G2-17-3")
@pytest.mark.parametrize(
    ("who", "code"),
    [
        ((ADMIN, CHECKER), "ROLE_MISSING"),
        ((ANNE, CHECKER), "ROLE_MISSING"),
        ((MAKER, None), "CHECKER_MISSING"),
        ((MAKER, MAKER), "CHECKER_IS_MAKER"),
        ((MAKER, ADMIN), "ROLE_MISSING"),
        ((MAKER, OTHER_CHECKER), "ROLE_MISSING"),
    ],
)
def test_an_operators_maker_and_checker_publish(who: tuple[Party, Party | None], code: str) -> None:
    market = DocumentMarket()
    body: dict[str, Any] = {"document": "report", "version": 1, "type": "announcement"}
    assert market.act(who, "publish", **body, title="公告", **PUBLIC).code == code


@pytest.mark.req("G2-17-3")
def test_a_document_is_its_organisations_own() -> None:
    market = DocumentMarket()
    market.publish(**PUBLIC)
    body: dict[str, Any] = {"document": "report", "version": 2, "type": "announcement"}
    refused = market.act((OTHER_MAKER, OTHER_CHECKER), "publish", **body, title="公告", **PUBLIC)
    assert (refused.code, refused.fields["owner"]) == ("DOCUMENT_OWNER_OTHER", OWNER)


def test_a_document_stays_in_its_area() -> None:
    market = DocumentMarket()
    market.publish(**PUBLIC)
    refused = market.publish(version=2, **NONPUBLIC)
    assert (refused.code, refused.fields["area"]) == ("DOCUMENT_AREA_OTHER", "notices")


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"document": ""}, "document"), ({"document": "a/b"}, "document"),
        ({"document": "x" * 65}, "document"), ({"document": 7}, "document"),
        ({"version": 0}, "version"), ({"version": "1"}, "version"), ({"version": True}, "version"),
        ({"area": "Notices"}, "area"), ({"area": None}, "area"), ({"type": "An"}, "type"),
        ({"title": ""}, "title"), ({"title": "x" * (TITLE_LENGTH_MAX + 1)}, "title"),
        ({"more": 1}, "more"),
    ],
)  # fmt: skip
def test_a_publication_is_well_formed(changes: dict[str, Any], field: str) -> None:
    refused = DocumentMarket().publish(**{**PUBLIC, **changes})
    assert (refused.code, refused.fields["field"]) == ("BODY_MALFORMED", field)


def test_an_area_must_be_there() -> None:
    market = DocumentMarket()
    assert market.publish(**{**PUBLIC, "area": "other"}).code == "DOCUMENT_AREA_UNKNOWN"
    assert market.publish(content=CONTENT).code == "BODY_MALFORMED"
