"""The source's half of version 3: what became of the packets that this chain sent.

An acknowledgement is believed by the destination's receipt, a time-out by a proof that there is
none where none with an effect can come any more. Either is marked before the sender hears of it,
and excludes the other: a destination that proves both contradicts itself.

Of a chain that is not admitted nothing is believed, and some chain never answers: what it was sent
is given up after its deadline, without a proof. What that chain proves later changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.proof.json_values import Json
from guqiao_sdk.proof.packet import (
    Deadline,
    Terms,
    acknowledgement_key,
    commitment_key,
    receipt_key,
    terms_key,
    time_out_key,
)
from guqiao_sdk.proof.state_proof import StateProof, verify_state_proof
from services.consensus.domain.contracts.chain_registry.drift import is_shut_out
from services.consensus.domain.contracts.host import Host, Refusal
from services.consensus.domain.contracts.light_client import consensus_state
from services.consensus.domain.contracts.light_client_records import ConsensusState
from services.consensus.domain.contracts.packet_link.breaker import require_running
from services.consensus.domain.contracts.packet_link.ports import SENDERS
from services.consensus.domain.contracts.packet_link.receiving import PACKET_EXPIRED
from services.consensus.domain.contracts.packet_link.settled import Settled
from services.consensus.domain.contracts.packets import (
    PACKETS_MAX,
    acknowledgement_of,
    own_key,
    proof_of,
    verify_or_refuse,
)
from services.consensus.domain.contracts.packets_host import (
    RELAYER,
    LinkHost,
    link_host,
    natural,
    require_members,
    require_role,
    rows,
    text,
    this_chain,
)
from services.consensus.domain.contracts.signers import require_answerable

BY_ABSENCE: Final = "absence"
BY_RECEIPT: Final = "receipt"
BY_STANDING: Final = "standing"
BY_DECISION: Final = "decision"
WITHOUT_PROOF: Final = (BY_STANDING, BY_DECISION)
GRACE_MS: Final = 600_000
"""So long after its deadline a packet may be given up: the clocks of two chains are within it."""

REASON_LENGTH_MAX: Final = 500


@dataclass(frozen=True, slots=True)
class _Sent:
    """A packet that this chain sent."""

    destination: str
    port: str
    sequence: int
    commitment: Json
    deadline: Deadline

    @property
    def facts(self) -> dict[str, Json]:
        return {
            "destination": self.destination,
            "port": self.port,
            "sequence": self.sequence,
        }


def acknowledge(host: Host, body: Mapping[str, Json]) -> None:
    """Take the destination's receipts of up to 50 packets that this chain sent, proven at one
    height there. An acknowledgement is kept once; the same again changes nothing.
    """
    require_role(host, RELAYER)
    require_members(body, "", "destination height packets")
    link, destination = link_host(host), text(body["destination"], "destination")
    height = natural(body["height"], "height")
    entries = rows(body["packets"], "packets", "port sequence acknowledgement proof", PACKETS_MAX)
    state_root = consensus_state(link, destination, height).state_root
    require_running(link, destination)
    for index, entry in enumerate(entries):
        path = f"packets[{index}]."
        sent = _find(link, destination, entry, path)
        acknowledgement = acknowledgement_of(entry["acknowledgement"], f"{path}acknowledgement")
        proof = proof_of(entry["proof"], f"{path}proof")
        _acknowledge_one(link, sent, acknowledgement, height, proof, state_root)


def time_out(host: Host, body: Mapping[str, Json]) -> None:
    """End up to 50 packets that this chain sent and that had no effect in time: at `height` the
    destination has no receipt of them, and no later block of it may give them an effect. The same
    again changes nothing.
    """
    require_role(host, RELAYER)
    require_members(body, "", "destination height packets")
    link, destination = link_host(host), text(body["destination"], "destination")
    height = natural(body["height"], "height")
    entries = rows(body["packets"], "packets", "port sequence proof", PACKETS_MAX)
    state = consensus_state(link, destination, height)
    require_running(link, destination)
    for index, entry in enumerate(entries):
        path = f"packets[{index}]."
        sent = _find(link, destination, entry, path)
        _time_out_one(link, sent, height, proof_of(entry["proof"], f"{path}proof"), state)


def give_up(host: Host, body: Mapping[str, Json]) -> None:
    """End up to 50 packets that this chain sent and of which nothing can be proven: for a relayer
    those to a chain that is not admitted, for two who answer for this chain those to any. 10
    minutes after their deadlines, those without a time only by people. The same again changes
    nothing.
    """
    link = link_host(host)
    is_decided = RELAYER not in host.sender().roles
    if is_decided:
        require_answerable(host)
    require_members(body, "", "destination packets reason")
    destination = text(body["destination"], "destination")
    reason = text(body["reason"], "reason", REASON_LENGTH_MAX)
    if not is_decided and not is_shut_out(link, destination):
        raise Refusal("ILLEGAL_TRANSITION", state="ADMITTED", event="give_up", chain=destination)
    for index, entry in enumerate(rows(body["packets"], "packets", "port sequence", PACKETS_MAX)):
        sent = _find(link, destination, entry, f"packets[{index}].")
        _give_up_one(link, sent, reason, is_decided=is_decided)


def _give_up_one(host: LinkHost, sent: _Sent, reason: str, *, is_decided: bool) -> None:
    if _time_out_of(host, sent) is not None:
        return
    if host.get(own_key(acknowledgement_key(sent.destination, sent.port, sent.sequence))):
        raise Refusal("ILLEGAL_TRANSITION", state="ACKNOWLEDGED", event="give_up", **sent.facts)
    time_ms = sent.deadline.time_ms
    if time_ms + GRACE_MS >= host.block_time_ms() or not (time_ms or is_decided):
        raise Refusal(
            "PACKET_NOT_EXPIRED",
            **sent.facts,
            deadline=sent.deadline.to_json(),
            height=host.height(),
            block_time_ms=host.block_time_ms(),
        )
    code = "PACKET_GIVEN_UP" if is_decided else "CHAIN_NOT_ADMITTED"
    facts: dict[str, Json] = {
        "destination_height": 0,
        "shown_by": BY_DECISION if is_decided else BY_STANDING,
        "reason": reason,
    }
    key = own_key(time_out_key(sent.destination, sent.port, sent.sequence))
    host.put(key, {"commitment": sent.commitment, **facts})
    _hear(host, sent, 0, {"code": code})
    host.emit("packet.timed_out", {**sent.facts, "code": code, **facts})


def _find(host: LinkHost, destination: str, entry: Mapping[str, Json], path: str) -> _Sent:
    port = text(entry["port"], f"{path}port")
    sequence = natural(entry["sequence"], f"{path}sequence")
    commitment = host.get(own_key(commitment_key(destination, port, sequence)))
    if commitment is None:
        raise Refusal("PACKET_UNKNOWN", destination=destination, port=port, sequence=sequence)
    kept = host.get(own_key(terms_key(destination, port, sequence)))
    terms = Terms.from_json(kept) if isinstance(kept, dict) else None
    deadline = Deadline() if terms is None else terms.deadline
    return _Sent(destination, port, sequence, commitment, deadline)


def _acknowledge_one(
    host: LinkHost,
    sent: _Sent,
    acknowledgement: Mapping[str, Json],
    height: int,
    proof: StateProof,
    state_root: bytes,
) -> None:
    is_expired = bool(sent.deadline) and acknowledgement.get("code") == PACKET_EXPIRED
    value: dict[str, Json] = {
        "commitment": sent.commitment,
        "acknowledgement": dict(acknowledgement),
    }
    key = own_key(acknowledgement_key(sent.destination, sent.port, sent.sequence))
    known = host.get(key)
    if known is not None:
        assert isinstance(known, dict)
        if known["acknowledgement"] != value["acknowledgement"]:
            raise _conflict(sent)
        return
    ended = _time_out_of(host, sent)
    if ended is not None and (is_expired or ended["shown_by"] in WITHOUT_PROOF):
        return
    verify_or_refuse(
        piece=f"receipt of {sent.destination} port {sent.port} sequence {sent.sequence}",
        root=state_root,
        key=receipt_key(this_chain(host), sent.port, sent.sequence),
        value=value,
        proof=proof,
    )
    if ended is not None:
        raise _conflict(sent)
    if is_expired:
        _end(host, sent, height, BY_RECEIPT)
        return
    host.put(key, {**value, "destination_height": height})
    _hear(host, sent, height, acknowledgement)
    outcome: dict[str, Json] = {
        name: acknowledgement.get(name)
        for name in ("code", "object_id", "version", "transaction_id")
    }
    host.emit("packet.acknowledged", {**sent.facts, **outcome, "destination_height": height})


def _time_out_one(
    host: LinkHost, sent: _Sent, height: int, proof: StateProof, state: ConsensusState
) -> None:
    if not sent.deadline:
        raise Refusal("PACKET_DEADLINE_NONE", **sent.facts)
    if _time_out_of(host, sent) is not None:
        return
    if not sent.deadline.excludes_later(height, state.block_time_ms):
        raise Refusal(
            "PACKET_NOT_EXPIRED",
            **sent.facts,
            deadline=sent.deadline.to_json(),
            height=height,
            block_time_ms=state.block_time_ms,
        )
    _verify_absence(host, sent, proof, state.state_root)
    if host.get(own_key(acknowledgement_key(sent.destination, sent.port, sent.sequence))):
        raise _conflict(sent)
    _end(host, sent, height, BY_ABSENCE)


def _verify_absence(host: LinkHost, sent: _Sent, proof: StateProof, state_root: bytes) -> None:
    """As strong as the proof of a receipt: against a certified header alone (G21)."""
    piece = f"absence of {sent.destination} port {sent.port} sequence {sent.sequence}"
    key = receipt_key(this_chain(host), sent.port, sent.sequence).encode()
    try:
        verify_state_proof(piece=piece, root=state_root, key=key, value=None, proof=proof)
    except ProofError as error:
        raise Refusal("PROOF_INVALID", piece=error.piece, detail=error.detail) from error


def _end(host: LinkHost, sent: _Sent, height: int, shown_by: str) -> None:
    """Mark first, then tell the sender. The commitment stays: a destination that takes packets in
    order must still be shown this one, to pass over it.
    """
    facts: dict[str, Json] = {"destination_height": height, "shown_by": shown_by}
    key = own_key(time_out_key(sent.destination, sent.port, sent.sequence))
    host.put(key, {"commitment": sent.commitment, **facts})
    _hear(host, sent, height, None)
    host.emit("packet.timed_out", {**sent.facts, "code": PACKET_EXPIRED, **facts})


def _hear(
    host: LinkHost, sent: _Sent, height: int, acknowledgement: Mapping[str, Json] | None
) -> None:
    hear = SENDERS.get(sent.port)
    if hear is not None:
        settled = Settled(sent.destination, sent.port, sent.sequence, height, acknowledgement)
        hear(host, settled)


def _time_out_of(host: LinkHost, sent: _Sent) -> dict[str, Json] | None:
    """What is kept of the end of a packet that had no effect in time."""
    kept = host.get(own_key(time_out_key(sent.destination, sent.port, sent.sequence)))
    assert kept is None or isinstance(kept, dict), "the contract wrote it"
    return kept


def _conflict(sent: _Sent) -> Refusal:
    return Refusal("PACKET_CONFLICT", **sent.facts, commitment=sent.commitment)
