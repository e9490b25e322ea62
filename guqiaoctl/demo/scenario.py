"""The demonstration's script, step by step."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from guqiao_sdk.client.chain import ChainClient
from guqiao_sdk.gm.provider import GmProvider, open_provider
from guqiao_sdk.market_dataset import MarketDataset
from guqiao_sdk.market_reader import read_dataset
from guqiaoctl.commands.importing import DEMO_DATA, ImportReport, import_dataset
from guqiaoctl.commands.registering import register_market
from guqiaoctl.commands.transactions import fetch_bundle
from guqiaoctl.demo import anchors, checks, link
from guqiaoctl.demo.failure import DemoError
from guqiaoctl.demo.isolation import run_without_network
from guqiaoctl.demo.registration import filed_certificates, show_registration
from guqiaoctl.failures import EXIT_UNVERIFIED, EXIT_USAGE
from guqiaoctl.network.bring_up import plan_network
from guqiaoctl.network.clients import open_chain, open_identity
from guqiaoctl.network.layout import Network, create_network, lock_folder
from guqiaoctl.network.parties import MARKET
from guqiaoctl.output import choose, log_warnings_only, say
from guqiaoctl.supervisor.supervisor import Supervisor

TAMPER_EVERY: Final = 499
SECONDS_INTENDED: Final = {"start": 15.0, "total": 120.0}
"""On two cores. A busy machine may take longer: that is said, and judged by whoever reads it."""


@dataclass(slots=True)
class Outcome:
    """The judgement, in the form that scripts rely on."""

    ok: bool = False
    registration: dict[str, Any] = field(default_factory=dict)
    """Of the market's chain: as `show_registration` found it."""
    accepted: int = 0
    rejected: int = 0
    unsupported: int = 0
    local_height: int = 0
    regulatory_height: int = 0
    anchored: int = 0
    state_roots_equal: bool = False
    replica_killed: bool = False
    gateway_killed: bool = False
    gateways_at_once: int = 1
    regulatory_chain_stopped: bool = False
    packets_waited: int = 0
    packets_reconciled: int = 0
    packets_digest: str = ""
    bundle_verified: bool = False
    seals_verified: bool = False
    tampered_bundle_refused: bool = False
    seconds: dict[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """One JSON object."""
        return asdict(self)


async def play(folder: Path, began: float) -> Outcome:
    """Play everything in `folder`; raises `DemoError` where something does not hold."""
    outcome = Outcome()
    log_warnings_only()
    lock = lock_folder(folder / "network")
    network = create_network(folder / "network")
    plan = await asyncio.to_thread(plan_network, network, say)
    outcome.seconds["setup"] = _since(began)
    supervisor = Supervisor(plan, say)
    started = time.monotonic()
    running = asyncio.create_task(_run(supervisor, network, outcome, folder, started))
    try:
        await running
    finally:
        supervisor.end()
        lock.close()
    await check_nothing_left(network)
    outcome.seconds["total"] = _since(started)
    outcome.ok = True
    _summarise(outcome)
    return outcome


async def _run(
    supervisor: Supervisor, network: Network, outcome: Outcome, folder: Path, started: float
) -> None:
    async def on_ready() -> None:
        try:
            await register_market(network, say)
            outcome.seconds["start"] = _since(started)
            await _perform(network, outcome, folder)
        finally:
            supervisor.end()

    await supervisor.run(on_ready)


async def _perform(network: Network, outcome: Outcome, folder: Path) -> None:
    provider = open_provider()
    async with AsyncExitStack() as stack:
        report = await _import_under_faults(network, provider, outcome, stack)
        _check_results(report, outcome)
        await _check_register(network, report)
        outcome.packets_waited = await link.count_waiting(network, provider)
        if not outcome.packets_waited:
            raise DemoError("no packet waits for the regulatory chain: it was away too late")
        say(f"{outcome.packets_waited} packets wait for the regulatory chain")
        await link.start_regulatory_chain(network)
        say("waiting for the acknowledgements of the regulatory chain")
        await checks.wait_anchored(network, provider, _operations(report))
        outcome.anchored = await anchors.count_anchored(network, provider)
        say(
            f"{outcome.anchored} data objects proven on the regulatory chain, under seals of filed"
            " certificates, and their acknowledgements on the local one"
        )
        reconciled = await link.reconcile(network, provider)
        outcome.packets_reconciled = reconciled.packets
        outcome.packets_digest = reconciled.digest
    await _check_chains(network, provider, outcome)
    outcome.registration = await show_registration(network, provider)
    await _check_bundle(network, provider, outcome, folder)


class _Quarters:
    """Events that are set when a quarter, a half and three quarters of the import are done."""

    def __init__(self, events: int) -> None:
        self._events = events
        self.reached = {quarter: asyncio.Event() for quarter in (1, 2, 3)}

    def note(self, done: int) -> None:
        for quarter, event in self.reached.items():
            if 4 * done >= quarter * self._events:
                event.set()


async def _import_under_faults(
    network: Network, provider: GmProvider, outcome: Outcome, stack: AsyncExitStack
) -> ImportReport:
    """Import the dataset; meanwhile kill the market's gateway, its primary, and the other chain."""
    dataset = read_dataset(DEMO_DATA)
    assert isinstance(dataset, MarketDataset), "the repository's own dataset is well formed"
    quarters = _Quarters(len(dataset.events))

    async with asyncio.TaskGroup() as tasks:
        importing = tasks.create_task(import_dataset(network, dataset, quarters.note))
        tasks.create_task(_lose_gateway(network, quarters.reached[1], outcome, stack))
        tasks.create_task(_lose_primary(network, provider, quarters.reached[2], outcome))
        tasks.create_task(_lose_chain(network, provider, quarters.reached[3], outcome))
    report = importing.result()
    outcome.seconds["import"] = round(report.seconds, 3)
    return report


async def _lose_gateway(
    network: Network, quarter: asyncio.Event, outcome: Outcome, stack: AsyncExitStack
) -> None:
    """Another takes over from it, and then both run until `stack` is left."""
    await quarter.wait()
    await link.command(network, "kill", link.GATEWAY)
    outcome.gateway_killed = True
    say(f"{link.GATEWAY} killed with SIGKILL; a second gateway of the market takes over")
    await stack.enter_async_context(link.second_gateway(network))
    await link.command(network, "start", link.GATEWAY)
    outcome.gateways_at_once = 2
    say(f"{link.GATEWAY} is back: two gateways carry the same packets")


async def _lose_chain(
    network: Network, provider: GmProvider, quarter: asyncio.Event, outcome: Outcome
) -> None:
    await quarter.wait()
    await link.stop_regulatory_chain(network)
    outcome.regulatory_chain_stopped = True
    maker = open_identity(network, provider, MARKET, "maker")
    async with open_chain(network, provider, MARKET, maker) as client:
        await _wait_for_block(client, "a block of the local chain while the other one is down")


async def _lose_primary(
    network: Network, provider: GmProvider, quarter: asyncio.Event, outcome: Outcome
) -> None:
    """Kill it, see the others go on, and start it again."""
    await quarter.wait()
    maker = open_identity(network, provider, MARKET, "maker")
    async with open_chain(network, provider, MARKET, maker) as client:
        primary = await checks.current_primary(client)
        name = f"{MARKET}-{primary}"
        await link.command(network, "kill", name)
        outcome.replica_killed = True
        say(f"{name}, the primary, killed with SIGKILL half-way")
        await _wait_for_block(client, "a block after the primary's death")
        say("the others changed view and went on; starting it again")
        await link.command(network, "start", name)


async def _wait_for_block(client: ChainClient, what: str) -> None:
    height = (await client.latest()).height

    async def moved_on() -> bool:
        return (await client.latest()).height > height

    await checks.wait_until(what, moved_on)


def _check_results(report: ImportReport, outcome: Outcome) -> None:
    counts = report.counts
    outcome.accepted, outcome.rejected = counts["accepted"], counts["rejected"]
    outcome.unsupported = counts["unsupported"]
    if report.csv() != (DEMO_DATA / "expected" / "results.csv").read_text(encoding="utf-8"):
        raise DemoError("results.csv differs from the expected one")
    say(f"results.csv equals the expected one ({len(report.rows)} events)")


async def _check_register(network: Network, report: ImportReport) -> None:
    """The read model follows the chain, so the roster is there within moments."""
    expected = (DEMO_DATA / "expected" / "roster.csv").read_text(encoding="utf-8")

    async def equal() -> bool:
        return await checks.roster_csv(network) == expected

    await checks.wait_until("roster.csv equal to the expected one", equal)
    say("roster.csv equals the expected one")


def _operations(report: ImportReport) -> int:
    """Accepted events less the retries among them: those alone are new data objects."""
    dataset = read_dataset(DEMO_DATA)
    assert isinstance(dataset, MarketDataset)
    accepted = {seq for seq, status, _ in report.rows if status == "accepted"}
    return len({event.request_id for event in dataset.events if event.seq in accepted})


async def _check_chains(network: Network, provider: GmProvider, outcome: Outcome) -> None:
    maker = open_identity(network, provider, MARKET, "maker")
    supervisor = open_identity(network, provider, "csrc", "supervisor")
    async with open_chain(network, provider, MARKET, maker) as local:
        states = await checks.wait_equal_roots(local)
        outcome.local_height = states[0].height
    async with open_chain(network, provider, "csrc", supervisor) as regulatory:
        states = await checks.wait_equal_roots(regulatory)
        outcome.regulatory_height = states[0].height
    outcome.state_roots_equal = True
    say("the killed replica caught up: all state roots are equal")


async def _check_bundle(
    network: Network, provider: GmProvider, outcome: Outcome, folder: Path
) -> None:
    maker = open_identity(network, provider, MARKET, "maker")
    async with open_chain(network, provider, MARKET, maker) as client:
        transaction_id = await anchors.some_transfer(network, provider, client)
    bundle = folder / "transfer.gqb"
    bundle.write_bytes((await fetch_bundle(network, transaction_id)).encode())
    trust, seals = network.layout.trust, await _seal_options(network, provider, folder)
    command = [*_verify_command(bundle, trust), *seals, "-o", "json"]
    answer, how = await asyncio.to_thread(run_without_network, command)
    if answer.returncode != 0:
        raise DemoError(f"the bundle was refused: {answer.stderr.strip()}")
    outcome.bundle_verified = outcome.seals_verified = True
    say(f"bundle of {bundle.stat().st_size} bytes verified in a process without network ({how})")
    sealed_by = json.loads(answer.stdout)["sealed_by"]
    say(choose(f"  sealed by {sealed_by}", f"  签章单位：{sealed_by}"))
    await asyncio.to_thread(_check_tampered, bundle, trust, folder)
    outcome.tampered_bundle_refused = True


async def _seal_options(network: Network, provider: GmProvider, folder: Path) -> list[str]:
    """What seals are judged by: the market's authority, its list, and the filed certificates."""
    authority = network.layout.authority(MARKET)
    filed = await filed_certificates(network, provider)
    pairs = [("authority", authority / "ca.pem"), ("crl", authority / "crl.pem")]
    pairs += [("certificate", path) for path in filed.written_to(folder)]
    return [text for name, path in pairs for text in (f"--seal-{name}", str(path))]


def _check_tampered(bundle: Path, trust: Path, folder: Path) -> None:
    """Change bytes all over the bundle, framing included: each must be refused, by name."""
    original = bundle.read_bytes()
    tampered = folder / "tampered.gqb"
    places = sorted({0, len(original) - 1, *range(0, len(original), TAMPER_EVERY)})
    for place in places:
        changed = bytearray(original)
        changed[place] ^= 1
        tampered.write_bytes(changed)
        _expect(_judge(tampered, trust), EXIT_UNVERIFIED, f"byte {place} changed")
    tampered.write_bytes(original[: len(original) // 2])
    answer, _ = run_without_network(_verify_command(tampered, trust))
    _expect(answer.returncode, EXIT_UNVERIFIED, "cut in half")
    say(f"  for example: {answer.stderr.strip().splitlines()[-1][:160]}")
    tampered.write_text("no bundle at all\n")
    answer, _ = run_without_network(_verify_command(tampered, trust))
    _expect(answer.returncode, EXIT_USAGE, "no bundle at all")
    say(f"{len(places) + 1} tampered bundles refused")


def _judge(bundle: Path, trust: Path) -> int:
    """The exit code that the command would give; in this process, because there are many."""
    from guqiao_sdk.proof.errors import ProofError
    from guqiao_sdk.proof.framing import NotABundleError
    from guqiao_sdk.proof.trust import parse_trust
    from guqiao_sdk.verify import exit_code_of, verify_bundle

    verify: Callable[[bytes, bytes, bytes], bool] = open_provider().verify
    trusted = parse_trust(trust.read_bytes(), verify)
    try:
        verify_bundle(bundle.read_bytes(), trusted, verify, now_ms=time.time_ns() // 1_000_000)
    except (ProofError, NotABundleError) as error:
        return exit_code_of(error)
    return 0


def _verify_command(bundle: Path, trust: Path) -> list[str]:
    return [sys.executable, "-m", "guqiaoctl", "verify", str(bundle), "--trust", str(trust)]


def _expect(found: int, wanted: int, what: str) -> None:
    if found != wanted:
        raise DemoError(f"{what}: exit code {found}, {wanted} expected")


async def check_nothing_left(network: Network) -> None:
    """No process of the network may be left."""
    marker = str(network.layout.folder)
    left = [line for line in await asyncio.to_thread(_processes) if marker in line]
    if left:
        raise DemoError(f"{len(left)} process(es) left: {left[0][:120]}")


def _processes() -> list[str]:
    """Command line and working folder of every other process: a database's own processes rename
    themselves, but stay where they were started. `ps` is asked only where there is no /proc.
    """
    folder = Path("/proc")
    if not (folder / "self" / "cmdline").exists():
        listing = subprocess.run(
            ["ps", "-axo", "args"],  # noqa: S607 - wherever the system has it
            capture_output=True,
            text=True,
            check=True,
        )
        return listing.stdout.splitlines()
    lines = []
    for process in folder.glob("[0-9]*"):
        with suppress(OSError):  # It ended meanwhile, or is another user's.
            if int(process.name) != os.getpid():
                arguments = (process / "cmdline").read_bytes().replace(b"\0", b" ")
                lines.append(arguments.decode(errors="replace"))
                lines[-1] += f" in {(process / 'cwd').readlink()}"
    return lines


def _since(moment: float) -> float:
    return round(time.monotonic() - moment, 3)


def _summarise(outcome: Outcome) -> None:
    say("")
    say(f"accepted {outcome.accepted}, rejected {outcome.rejected}, anchored {outcome.anchored}")
    say(f"heights: local {outcome.local_height}, regulatory {outcome.regulatory_height}")
    say(f"seconds: {outcome.seconds}")
    for line in slow(outcome.seconds):
        say(line)


def slow(seconds: Mapping[str, float]) -> list[str]:
    """What took longer than it should on two cores, in the user's language."""
    return [
        choose(
            f"warning: {part} took {seconds[part]:.1f} s, more than the {most:.0f} s intended on"
            " two free cores",
            f"警告：{part} 用时 {seconds[part]:.1f} 秒，超过双核空闲机器上预期的 {most:.0f} 秒",
        )
        for part, most in SECONDS_INTENDED.items()
        if seconds[part] > most
    ]
