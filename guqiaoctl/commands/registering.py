"""Registers the market's chain of a network on one machine by the whole procedure of SM-1.

Every step is signed by whose it is, and goes on from where the chain says that the registration is:
a start that was cut off is taken up by the next one. Nothing here is a way round the contract
`chains`; what is invented stands in the draft and says so.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from guqiao_sdk.conformance.findings import Check, Finding, Result
from guqiao_sdk.errors import GuqiaoError
from guqiao_sdk.gm.provider import GmProvider, open_provider
from guqiao_sdk.gm.sm3 import sm3
from guqiao_sdk.proof.certificates import parse_certificate_pem
from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.proof.json_values import Json, parse_json_strict
from guqiaoctl.commands.calls import failure_of, unverified
from guqiaoctl.commands.chain_calls import accepted, failure, record_of
from guqiaoctl.commands.chain_registry import (
    read_registered,
    submit_step,
)
from guqiaoctl.commands.conformance import (
    examined,
    not_passed,
    now_in_china,
    probes_of,
    signed_report,
    subject_of,
)
from guqiaoctl.commands.conformance_links import registered_endpoints
from guqiaoctl.commands.governance import READERS
from guqiaoctl.failures import CliError
from guqiaoctl.network.chain_draft import draft_registration, draft_seal_certificates
from guqiaoctl.network.clients import open_chain, open_identity
from guqiaoctl.network.files import write_file
from guqiaoctl.network.layout import Network
from guqiaoctl.network.lists import KEPT, publish_list
from guqiaoctl.network.parties import CSRC, MARKET
from guqiaoctl.output import choose
from services.consensus.domain.contracts.chain_registry.form import (
    BYTES_MAX,
    Registration,
    read_registration,
)
from services.consensus.domain.contracts.chain_registry.sealing import seal_key
from services.consensus.domain.contracts.chain_registry.standing import (
    CHAINS,
    IN_FORCE,
    NONE,
    Status,
)

SEALERS: Final = ("maker", "checker", "institution")
"""The accounts whose signatures seal what the market reports."""
RENEWED_BEFORE: Final = timedelta(days=90)
"""So long before its end a sealing certificate is replaced at a start."""
DEPTH_MAX: Final = 8
UNSAMPLED: Final = "CONFORMANCE_NO_SAMPLE"
OF_OBJECTS: Final = frozenset({Check.OBJECTS, Check.OBJECT})
"""What a chain that has not reported yet has nothing to show for."""

Report = Callable[[str], None]


async def register_market(network: Network, report: Report) -> None:
    """See to it that the market's chain is registered, once, and at every start that its revocation
    list and the certificates of its seals count. Raises `CliError` where a step is refused.

    A chain that an earlier release made known otherwise is left to its operator.
    """
    try:
        await _register(network, report)
    except GuqiaoError as error:
        raise failure_of(error) from error
    except ProofError as error:
        raise unverified(error) from error


async def _register(network: Network, report: Report) -> None:
    marker = network.layout.folder / "run" / "chain-registered"
    provider = open_provider()
    found = await read_registered(network, MARKET)
    status = NONE if found is None else str(found["standing"]["status"])
    if status in IN_FORCE:
        if code := await publish_list(network, provider):
            raise failure(code, authority=MARKET)
        await _file_certificates(network, provider)
    elif not marker.exists():
        stated = None if found is None else found["registration"]["registration"]
        await _Procedure(network, provider, report, status, stated).take_all()
    marker.touch()


@dataclass(slots=True)
class _Procedure:
    """The registration of the market's chain, at `status` now."""

    network: Network
    provider: GmProvider
    report: Report
    status: str
    stated: Json
    """The registration that was submitted, if one was."""
    tested: str = ""
    """What the conformance test came to, in the user's language."""

    async def take_all(self) -> None:
        """Take every step that is left. The steps lead to the approval, or one of them raises."""
        steps: Mapping[str, Callable[[], Awaitable[str]]] = {
            NONE: self._submit,
            Status.RETURNED: self._submit,
            Status.SUBMITTED: self._countersign,
            Status.PROVINCIAL_REVIEWED: self._start_test,
            Status.CONFORMANCE_FAILED: self._start_test,
            Status.CONFORMANCE: self._test,
            Status.CONFORMANCE_PASSED: self._approve,
        }
        while self.status in steps:
            self.status = await steps[self.status]()

    async def _submit(self) -> str:
        """Authority and list first: certificates of the keys are judged by them."""
        folder = self.network.layout.authority(MARKET)
        root, pem = ((folder / name).read_text("ascii") for name in ("ca.pem", "crl.pem"))
        await submit_step(self.network, "trust_root", {"certificate": root})
        try:
            await submit_step(self.network, "publish_crl", {"crl": pem})
        except CliError as error:
            if error.code != KEPT:
                raise
        draft = await asyncio.to_thread(draft_registration, self.network, self.provider)
        value = parse_json_strict(draft, depth_max=DEPTH_MAX, size_max=BYTES_MAX)
        step = "submit" if self.status == NONE else "resubmit"
        await submit_step(self.network, step, {"registration": value})
        self.stated = value
        return Status.SUBMITTED

    async def _countersign(self) -> str:
        await self._take("countersign", {"digest": self._registration().digest})
        return Status.PROVINCIAL_REVIEWED

    async def _start_test(self) -> str:
        await self._take("start_test", {"digest": self._registration().digest})
        return Status.CONFORMANCE

    async def _test(self) -> str:
        registration, began_at = self._registration(), now_in_china()
        await _begin_chain(self.network, self.provider)
        examination = await examined(
            self.network,
            self.provider,
            subject_of(registration),
            registered_endpoints(registration, self.network),
        )
        lacking = [each for each in examination.findings if each.result is not Result.PASSED]
        if not all(map(_is_left_out, lacking)):
            raise not_passed(MARKET, examination.findings)
        passed = len(examination.findings) - len(lacking)
        self.tested = choose(
            f"{passed} checks of {len(examination.endpoints)} nodes over GM-TLS passed,"
            f" {len(lacking)} left out for want of a data object",
            f"{len(examination.endpoints)} 个节点经国密链路通过 {passed} 项检查，"
            f"{len(lacking)} 项因尚无数据对象未检查",
        )
        signed = signed_report(self.network, self.provider, examination, began_at) + b"\n"
        write_file(self.network.layout.folder / "run" / "conformance-report.json", signed)
        body: dict[str, Json] = {
            "digest": registration.digest,
            "result": "PASS",
            "report": sm3(signed).hex(),
            "probes": probes_of(examination),
        }
        await self._take("report", body)
        return Status.CONFORMANCE_PASSED

    async def _approve(self) -> str:
        filed = await _file_certificates(self.network, self.provider)
        height = await self._take("approve", {"digest": self._registration().digest})
        self.report(
            choose(
                f"chain {MARKET} registered with {CSRC} at height {height}: countersigned by the"
                f" province, approved by both sides of the CSRC",
                f"{MARKET} 链已在 {CSRC} 链登记（高度 {height}）：省级会签，证监会两方批准",
            )
        )
        self.report(
            choose(
                f"  conformance: {self.tested or 'reported before'};"
                f" {filed} certificates filed for seals",
                f"  符合性测试：{self.tested or '此前已报告'}；登记签章证书 {filed} 张",
            )
        )
        return Status.ACTIVE

    async def _take(self, method: str, body: Mapping[str, Json]) -> int:
        result = await submit_step(self.network, method, {"chain_id": MARKET, **body})
        return result.height

    def _registration(self) -> Registration:
        return read_registration(self.stated)


def _is_left_out(finding: Finding) -> bool:
    """Whether it is not checked for the one reason that a chain which begins may have."""
    is_unsampled = finding.result is Result.NOT_CHECKED and finding.code == UNSAMPLED
    return is_unsampled and finding.check in OF_OBJECTS


async def _begin_chain(network: Network, provider: GmProvider) -> None:
    """The first transaction of the market's chain, so that there is one to examine: its light
    client takes a header of the regulatory chain, as the gateway would bring it with a packet.
    """
    reader = open_identity(network, provider, CSRC, READERS[CSRC])
    async with open_chain(network, provider, CSRC, reader) as regulatory:
        header, certificate = await regulatory.get_header()
    gateway = open_identity(network, provider, MARKET, "gateway")
    body: dict[str, Json] = {
        "chain": CSRC,
        "header": header.encode().hex(),
        "certificate": certificate.encode().hex(),
        "set_changes": [],
    }
    async with open_chain(network, provider, MARKET, gateway) as market:
        accepted(await market.call("light_client", "update", body))


async def _file_certificates(network: Network, provider: GmProvider) -> int:
    """File a certificate for each key that seals and has none, or one that ends soon; returns how
    many were.
    """
    drafts = await asyncio.to_thread(draft_seal_certificates, network, provider)
    texts = [drafts[name].decode("ascii") for name in SEALERS]
    ends_ms = await _ends_of_filed(network, provider, texts)
    soon_ms = time.time_ns() // 1_000_000 + RENEWED_BEFORE // timedelta(milliseconds=1)
    due = [each for each, end_ms in zip(texts, ends_ms, strict=True) if end_ms < soon_ms]
    bodies: list[dict[str, Json]] = [{"chain_id": MARKET, "certificate": each} for each in due]
    steps = (submit_step(network, "file_certificate", each) for each in bodies)
    await asyncio.gather(*steps)
    return len(due)


async def _ends_of_filed(network: Network, provider: GmProvider, texts: Sequence[str]) -> list[int]:
    """When the certificate that is filed for the key of each of these ends (ms); 0: none is."""
    keys = [seal_key(MARKET, parse_certificate_pem(each).public_key) for each in texts]
    reader = open_identity(network, provider, CSRC, READERS[CSRC])
    async with open_chain(network, provider, CSRC, reader) as client:
        height = (await client.latest()).height
        kept = await client.get_state_proofs([f"{CHAINS}/{each}" for each in keys], height)
    return [_end_of(record_of(each)) for each in kept]


def _end_of(record: Mapping[str, Json] | None) -> int:
    """When a filed certificate ends (ms); 0 where there is none."""
    return 0 if record is None else int(str(record["not_after_ms"]))
