"""Examines a chain: asks every node for every item of the list, then compares the nodes.

No node speaks for another, and none for itself: heights count once a certified header proves them.
Every check of every node has a finding, so that what was left out shows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from guqiao_sdk.conformance.findings import (
    OF_A_NODE,
    Check,
    Finding,
    NonConformityError,
    NotCheckedError,
    Result,
    require,
    shown,
)
from guqiao_sdk.conformance.node_checks import (
    OF_SAMPLES,
    Examined,
    Samples,
    check_networks,
    check_options,
    check_status,
)
from guqiao_sdk.conformance.port import Bounds, Endpoint, Subject, Unreachable
from guqiao_sdk.errors import GuqiaoError
from guqiao_sdk.proof.canonical import MalformedError
from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.proof.header import Verify
from guqiao_sdk.proof.merkle import merkle_root

NODES_MIN: Final = 2
_EMPTY_ROOT: Final = merkle_root(())


@dataclass(frozen=True, slots=True)
class Examination:
    """What came of it. `heights` are the proven ones by URL; `common_height` is the one at which
    the nodes were compared, 0 where none was proven.
    """

    subject: Subject
    endpoints: tuple[Endpoint, ...]
    findings: tuple[Finding, ...]
    heights: Mapping[str, int]
    common_height: int

    @property
    def passed(self) -> bool:
        """Whether every check was passed: what was not checked is not."""
        return all(each.result is Result.PASSED for each in self.findings)


async def examine(
    subject: Subject, endpoints: Sequence[Endpoint], verify: Verify, bounds: Bounds
) -> Examination:
    """Examine the chain at these nodes. Nothing that a node does ends it: each check has a finding,
    in the order of `endpoints` and of `Check`.
    """
    findings: dict[tuple[str, Check], Finding] = {}
    asked = [
        Examined(each.url, each.replica, each.rpc, subject, verify)
        for each in endpoints
        if not isinstance(each.rpc, Unreachable) and each.replica is not None
    ]
    for each in endpoints:
        if isinstance(each.rpc, Unreachable):
            findings |= _of_unreachable(each, each.rpc)
    # At once, so that what they say of their heights can be compared.
    for made in await asyncio.gather(*(_meet(node) for node in asked)):
        findings |= made
    samples = await _samples(asked, bounds)
    for node in asked:
        findings |= await _check_samples(node, samples)
    between = (
        await _finding(Check.TWO_NODES, "", _two_nodes(endpoints, asked, findings)),
        await _finding(Check.AGREEMENT, "", _agreement(asked, samples, bounds)),
    )
    ordered = [findings[each.url, check] for each in endpoints for check in OF_A_NODE]
    heights = {node.url: node.head.height for node in asked if node.head is not None}
    return Examination(subject, tuple(endpoints), (*ordered, *between), heights, samples.common)


def _of_unreachable(endpoint: Endpoint, why: Unreachable) -> dict[tuple[str, Check], Finding]:
    result = Result.NOT_CHECKED if why.is_ours else Result.FAILED
    facts = {name: shown(value) for name, value in why.facts.items()}
    return _not_checked(endpoint.url, OF_A_NODE, Check.LINK) | {
        (endpoint.url, Check.LINK): Finding(Check.LINK, endpoint.url, result, why.code, facts)
    }


def _not_checked(
    url: str, checks: Sequence[Check], needed: Check
) -> dict[tuple[str, Check], Finding]:
    facts = {"needed": needed.value}
    return {
        (url, each): Finding(each, url, Result.NOT_CHECKED, "CONFORMANCE_DEPENDS", facts)
        for each in checks
    }


async def _meet(node: Examined) -> dict[tuple[str, Check], Finding]:
    """Ask what can be asked before any height is known."""
    link = await _finding(Check.LINK, node.url, _ask_status(node))
    if node.status is None:
        return _not_checked(node.url, OF_A_NODE, Check.LINK) | {(node.url, Check.LINK): link}
    made = [
        link,
        await _finding(Check.STATUS, node.url, check_status(node)),
        await _finding(Check.NETWORKS, node.url, check_networks(node)),
        await _finding(Check.OPTIONS, node.url, check_options(node)),
    ]
    return {(node.url, each.check): each for each in made}


async def _ask_status(node: Examined) -> None:
    node.status = await node.rpc.get_network_status()


async def _check_samples(node: Examined, samples: Samples) -> dict[tuple[str, Check], Finding]:
    if node.status is None:
        return {}
    if node.head is None or not samples.common:
        return _not_checked(node.url, tuple(OF_SAMPLES), Check.STATUS)
    own = samples
    if node.head.height < samples.common:  # It lags, and is asked about what it can have.
        own = Samples(node.head.height, 0, 0, samples.looked)
    made = [await _finding(check, node.url, make(node, own)) for check, make in OF_SAMPLES.items()]
    return {(node.url, each.check): each for each in made}


async def _finding(check: Check, url: str, made: Awaitable[None]) -> Finding:
    """What came of a check. Whatever a node answers is one of these; anything else is our bug."""
    try:
        await made
    except NotCheckedError as error:
        return Finding(check, url, Result.NOT_CHECKED, error.code, error.facts)
    except NonConformityError as error:
        return Finding(check, url, Result.FAILED, error.code, error.facts)
    except ProofError as error:
        facts = {"piece": shown(error.piece), "detail": shown(error.detail)}
        return Finding(check, url, Result.FAILED, "CONFORMANCE_PROOF_INVALID", facts)
    except MalformedError as error:
        facts = {"piece": check.value, "detail": shown(error)}
        return Finding(check, url, Result.FAILED, "CONFORMANCE_PROOF_INVALID", facts)
    except GuqiaoError as error:
        facts = {"error": error.code or "-", "detail": shown(error.en or error.facts.message)}
        return Finding(check, url, Result.FAILED, "CONFORMANCE_UNANSWERED", facts)
    return Finding(check, url, Result.PASSED)


# --- What is asked about --------------------------------------------------------------------------


async def _samples(asked: Sequence[Examined], bounds: Bounds) -> Samples:
    """The highest height that every node which keeps up has, and blocks to ask about at or below
    it. What one node says of a block's contents is only where to look: each is judged by its own
    answers.
    """
    proven = [node for node in asked if node.head is not None]
    tops = [node.head.height for node in proven if node.head is not None]
    common = min((top for top in tops if max(tops) - top <= bounds.lag_heights_max), default=0)
    if not common:
        return Samples(0, 0, 0, 0)
    if bounds.sample_height:
        height = min(bounds.sample_height, common)
        return Samples(common, height, height, 1)
    lowest = max(common - bounds.scan_heights_max, 0)
    found = (0, 0)
    for node in proven:
        found = max(found, await _look_for(node, range(common, lowest, -1)))
        if found[0]:
            break
    objects, transactions = found
    return Samples(common, objects or transactions, objects, common - lowest)


async def _look_for(node: Examined, heights: Sequence[int]) -> tuple[int, int]:
    """The first height at which the node lists data objects, and the first that has transactions;
    0 where there is none. A node that gives no answer is not asked on: its own checks tell why.
    """
    transactions = 0
    for height in heights:
        try:
            header, _, _ = await node.header(height)
            if header.transactions_root == _EMPTY_ROOT:
                continue
            transactions = transactions or height
            if (await node.rpc.list_objects(height)).objects:
                return height, transactions
        except (GuqiaoError, ProofError):
            break
    return 0, transactions


# --- Between the nodes ----------------------------------------------------------------------------


async def _two_nodes(
    endpoints: Sequence[Endpoint],
    asked: Sequence[Examined],
    findings: Mapping[tuple[str, Check], Finding],
) -> None:
    """Two nodes at least are full and different: each address once, each replica once."""
    require("endpoints (distinct)", len({each.url for each in endpoints}), len(endpoints))
    stated = [node.status.replica for node in asked if node.status is not None]
    require("replicas (distinct)", len(set(stated)), len(stated))
    full = [
        node.url
        for node in asked
        if all(
            findings[node.url, check].result is Result.PASSED
            for check in (Check.LINK, Check.STATUS, Check.HISTORY)
        )
    ]
    if len(full) < NODES_MIN:
        raise NonConformityError(
            "CONFORMANCE_ANSWER_WRONG",
            what="full nodes",
            found=len(full),
            expected=f"≥ {NODES_MIN}",
        )


async def _agreement(asked: Sequence[Examined], samples: Samples, bounds: Bounds) -> None:
    """The proven heights are near one another, and at the common one all have the same block."""
    heads = {node.url: node.head.height for node in asked if node.head is not None}
    if len(heads) < NODES_MIN:
        raise NotCheckedError("CONFORMANCE_DEPENDS", needed=Check.STATUS)
    for url, height in heads.items():
        if max(heads.values()) - height > bounds.lag_heights_max:
            raise NonConformityError(
                "CONFORMANCE_ANSWER_WRONG",
                what=f"height of {url}",
                found=height,
                expected=f"≥ {max(heads.values()) - bounds.lag_heights_max}",
            )
    hashes = {}
    for node in asked:
        if node.head is not None:
            header, _, _ = await node.header(samples.common)
            hashes[node.url] = header.hash()
    first = next(iter(hashes.values()))
    for url, found in hashes.items():
        require(f"header at {samples.common} of {url}", found, first)
