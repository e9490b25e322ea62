"""The certificate of a holding: what an account holds of a product and what binds it, at a height,
in one file that proves itself (N0-20, SM-17).

Its number follows from what it says, so that one holding at one height has one certificate however
often it is issued, and two that differ have two numbers. It carries no name: the holder is the
account's investor code.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Final, TypeVar

from guqiao_sdk.proof.bundle import BUNDLE_BYTES_MAX
from guqiao_sdk.proof.canonical import digest, tagged
from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.proof.extract import Extract
from guqiao_sdk.proof.header import SIGNATURE_BYTES, Verify
from guqiao_sdk.proof.json_values import Json, JsonError, canonical_json, parse_json_strict
from guqiao_sdk.proof.members import MemberReader
from guqiao_sdk.proof.trust import Trust
from guqiao_sdk.register_papers.institution import PIECE as SIGNATURE
from guqiao_sdk.register_papers.institution import Seal, Signer
from guqiao_sdk.register_papers.proofs import Place, proven_facts
from guqiao_sdk.register_papers.proven import Facts, Listing, ProvenRegister, identity_key
from guqiao_sdk.register_papers.tables import Encumbrance, Holding
from guqiao_sdk.register_papers.verification_code import code_of
from guqiao_sdk.verify import CertifiedBlock, OnCheck

FORMAT: Final = "guqiao-holding-certificate/1"
PROOFS_MAX: Final = 64
NATURES_MAX: Final = 64
ENCUMBRANCES_MAX: Final = 8_192
_NUMBER_DIGITS: Final = 16
_TEXT_BYTES_MAX: Final = 4_096
_PROOF_BYTES_MAX: Final = BUNDLE_BYTES_MAX
_DIGEST_BYTES: Final = 32
_DEPTH_MAX: Final = 4
_PIECE: Final = "holding certificate"
_SAID: Final = "format chain height block_time_ms product_code account holdings encumbrances"
_SHOWN: Final = "number digest code signer"
_MEMBERS: Final = f"{_SAID} {_SHOWN} signature proofs"
_HELD: Final = ("account", "product_code")
"""Members of the certificate itself, which its rows do not repeat."""

_Row = TypeVar("_Row", Holding, Encumbrance)


@dataclass(frozen=True, slots=True)
class Certificate:
    """What is certified, and who signs it. `proofs` are extracts, encoded."""

    place: Place
    product: str
    account: str
    holdings: tuple[Holding, ...]
    encumbrances: tuple[Encumbrance, ...]
    signer: Signer
    signature: bytes
    proofs: tuple[bytes, ...]

    @property
    def digest(self) -> bytes:
        """SM3 of what is certified."""
        return digest("guqiao/holding-certificate/1", canonical_json(self._said()))

    @property
    def number(self) -> str:
        """Chain, height, and so much of the digest that no two certificates share it."""
        mark = self.digest.hex()[:_NUMBER_DIGITS].upper()
        return f"{self.place.chain_id}-{self.place.height}-{mark}"

    @property
    def code(self) -> str:
        """The verification code, from another part of the digest than the number."""
        return code_of(self.digest[_DIGEST_BYTES // 2 :])

    def require_code(self, code: str) -> None:
        """Raise `ProofError` unless the code, as it is written, is that of this certificate."""
        if code != self.code:
            raise _refusal(f"the code {code} is that of another certificate")

    def encode(self) -> bytes:
        """The file's bytes."""
        return canonical_json(
            {
                **self._signed(),
                "signature": self.signature.hex(),
                "proofs": [base64.b64encode(each).decode() for each in self.proofs],
            }
        )

    def sign_bytes(self) -> bytes:
        """What the institution signs: every member but the signature and the proofs, which stand
        for themselves.
        """
        return tagged("guqiao/holding-certificate/signature/1", canonical_json(self._signed()))

    @staticmethod
    def decode(data: bytes) -> Certificate:
        """Read `encode`'s bytes; raises `ProofError`. Whether it holds is not asked."""
        try:
            value = parse_json_strict(data, depth_max=_DEPTH_MAX, size_max=BUNDLE_BYTES_MAX)
        except JsonError as error:
            raise _refusal(f"not strict JSON: {error}") from None
        members = _READ.members(value, "it", _MEMBERS)
        product = _READ.text(members["product_code"], "product_code", _TEXT_BYTES_MAX)
        account = _READ.text(members["account"], "account", _TEXT_BYTES_MAX)
        held = {"account": account, "product_code": product}
        found = Certificate(
            place=Place(
                _READ.text(members["chain"], "chain", _TEXT_BYTES_MAX),
                _READ.natural(members["height"], "height"),
                _READ.natural(members["block_time_ms"], "block_time_ms"),
            ),
            product=product,
            account=account,
            holdings=tuple(
                _row(Holding, each, f"holdings[{at}]", held)
                for at, each in enumerate(_READ.array(members["holdings"], "holdings", NATURES_MAX))
            ),
            encumbrances=tuple(
                _row(Encumbrance, each, f"encumbrances[{at}]", held)
                for at, each in enumerate(
                    _READ.array(members["encumbrances"], "encumbrances", ENCUMBRANCES_MAX, least=0)
                )
            ),
            signer=Signer.read(members["signer"], _READ),
            signature=_READ.hex(members["signature"], "signature", SIGNATURE_BYTES),
            proofs=tuple(
                _base64(each, f"proofs[{at}]")
                for at, each in enumerate(_READ.array(members["proofs"], "proofs", PROOFS_MAX))
            ),
        )
        found._check_form(members, data)
        return found

    def _check_form(self, members: Any, data: bytes) -> None:
        """What follows from the content is what is written, and there is one way to write it."""
        if members["format"] != FORMAT:
            raise _refusal(f"its format is not {FORMAT}")
        for name, value in (
            ("digest", self.digest.hex()),
            ("number", self.number),
            ("code", self.code),
        ):
            if members[name] != value:
                raise _refusal(f"its {name} is not that of its content")
        if self.encode() != data:
            raise _refusal("it is not written as a certificate is")

    def _said(self) -> dict[str, Json]:
        return {
            "format": FORMAT,
            "chain": self.place.chain_id,
            "height": self.place.height,
            "block_time_ms": self.place.block_time_ms,
            "product_code": self.product,
            "account": self.account,
            "holdings": [_members_of(each) for each in self.holdings],
            "encumbrances": [_members_of(each) for each in self.encumbrances],
        }

    def _signed(self) -> dict[str, Json]:
        return {
            **self._said(),
            "digest": self.digest.hex(),
            "number": self.number,
            "code": self.code,
            "signer": self.signer.to_json(),
        }


@dataclass(frozen=True, slots=True)
class CertificateVerdict:
    """What a certificate proves. `age_ms` is since its block, by the verifier's clock."""

    block: CertifiedBlock
    certificate: Certificate
    age_ms: int


def is_certificate(data: bytes) -> bool:
    """Whether a file is more of a certificate than of any other proof."""
    return data.startswith(b"{") and FORMAT.encode() in data


def build_certificate(
    account: str, listing: Listing, extracts: Sequence[Extract], seal: Seal
) -> Certificate:
    """The certificate of an account's holding of `listing.product`. The extracts are of one height
    and prove `listing.keys()` and the signer's identity. Raises `ProofError` where they do not, or
    the account holds nothing.
    """
    facts: Facts = {fact.key: fact.value for each in extracts for fact in each.facts}
    register = _register(account, listing, facts)
    header = extracts[0].certified.header
    unsigned = Certificate(
        place=Place(header.chain_id, header.height, header.block_time_ms),
        product=listing.product,
        account=account,
        holdings=register.holders,
        encumbrances=register.encumbrances,
        signer=seal.signer,
        signature=bytes(SIGNATURE_BYTES),
        proofs=tuple(each.encode() for each in extracts),
    )
    return replace(unsigned, signature=seal.sign(unsigned.sign_bytes()))


def verify_certificate(
    data: bytes,
    trust: Trust,
    verify: Verify,
    *,
    now_ms: int,
    on_check: OnCheck = lambda piece: None,
) -> CertificateVerdict:
    """What the certificate proves. Raises `ProofError` that names the first check which fails;
    `on_check` is told of each that holds. `now_ms` is Unix milliseconds.
    """
    found = Certificate.decode(data)
    on_check(_PIECE)
    extracts = {f"proof {at}": each for at, each in enumerate(found.proofs, start=1)}
    block, facts = proven_facts(extracts, found.place, trust, verify)
    for piece in extracts:
        on_check(piece)
    found.signer.check(facts, block.block_time_ms, found.sign_bytes(), found.signature, verify)
    on_check(SIGNATURE)
    listing = Listing.of(found.product, found.holdings, found.encumbrances)
    register = _register(found.account, listing, facts)
    if register.holders != found.holdings:
        raise _refusal("its holdings are not what is proven")
    on_check("holdings")
    if register.encumbrances != found.encumbrances:
        raise _refusal("its encumbrances are not what is proven")
    on_check("completeness of the encumbrances")
    needed = {name.encode() for name in (*listing.keys(), identity_key(found.signer.did))}
    if set(facts) != needed:
        raise _refusal("its extracts prove more than it says")
    return CertificateVerdict(block, found, now_ms - block.block_time_ms)


def _register(account: str, listing: Listing, facts: Facts) -> ProvenRegister:
    """What binds the account's shares is all there, and nothing that binds another's."""
    register = ProvenRegister.read(facts, listing)
    if not register.holders:
        raise _refusal("the account holds nothing")
    if any(each.account != account for each in register.encumbrances):
        raise _refusal("its encumbrances are not what is proven")
    register.check_encumbrances()
    return register


def _members_of(row: Holding | Encumbrance) -> Json:
    return {name: value for name, value in asdict(row).items() if name not in _HELD}


def _row(kind: type[_Row], value: Json, name: str, held: Mapping[str, str]) -> _Row:
    """A row of exactly the members of its kind, each of exactly its type."""
    types = {each.name: str(each.type) for each in fields(kind) if each.name not in _HELD}
    members = _READ.members(value, name, " ".join(types))
    for member, wanted in types.items():
        if type(members[member]).__name__ != wanted:
            raise _refusal(f"{name} has not exactly the members {' '.join(types)}")
    values: Any = {**held, **members}
    return kind(**values)


def _base64(value: Json, name: str) -> bytes:
    text = _READ.text(value, name, _PROOF_BYTES_MAX)
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise _refusal(f"{name} is not in base64") from None


def _refusal(detail: str) -> ProofError:
    return ProofError(_PIECE, detail)


_READ: Final = MemberReader(_refusal)
