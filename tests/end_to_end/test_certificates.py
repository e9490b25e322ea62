"""Certificates and revocation lists of a running network: what ends, is revoked or is missing stops
exactly what depends on it, every place to look says why, and new files mend it without a restart.

The processes look at their files five times a second here, instead of every ten seconds.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from guqiao.gateway.v1 import gateway_service_pb2
from guqiao.gateway.v1.gateway_service_pb2_grpc import GatewayServiceStub
from guqiao_sdk.gm.certificates import (
    CertificateAuthority,
    RevokedCertificate,
    parse_certificate,
)
from guqiao_sdk.gm.keyfile import load_private_key, save_private_key
from guqiao_sdk.gm.provider import open_provider
from guqiaoctl.demo.checks import wait_equal_roots
from guqiaoctl.network import pki
from guqiaoctl.network.clients import open_chain, open_identity, open_service
from guqiaoctl.network.layout import Layout
from guqiaoctl.network.parties import CSRC, MARKET
from guqiaoctl.network.settings_files import process_plans
from guqiaoctl.supervisor.control import ask
from services.chassis.gm_tls import (
    AuthorityFiles,
    GmTlsFiles,
    GmTlsIdentity,
    RefusedByPeerError,
    open_connection,
)
from tests.end_to_end.harness import ROOT, TINY, OneMachine, environment, wait_until

pytestmark = [pytest.mark.end_to_end]

REPLICAS = {f"shandong-{number}" for number in range(4)}
START_SECONDS_MAX = 100.0


class Certificates:
    """What the authority of the market's domain does to a network."""

    def __init__(self, machine: OneMachine) -> None:
        self.layout = machine.network.layout
        self.provider = open_provider()
        folder = self.layout.authority(MARKET)
        self.list = folder / "crl.pem"
        key = load_private_key(folder / "ca.key", self.provider)
        self.authority = CertificateAuthority(self.provider, (folder / "ca.pem").read_bytes(), key)

    def of(self, process: str) -> Path:
        return self.layout.process(process) / "tls.pem"

    def publish(self, *revoked: str, ends_in: timedelta = timedelta(days=1)) -> None:
        """A new revocation list, which names the certificates of these processes too."""
        now = datetime.now(UTC)
        serials = [parse_certificate(self.of(name).read_bytes()).serial for name in revoked]
        new = self.list.with_name("new")
        new.write_bytes(
            self.authority.reissue_crl(
                self.list.read_bytes(),
                this_update=now - timedelta(minutes=1),
                next_update=now + ends_in,
                also_revoked=[RevokedCertificate(serial, now) for serial in serials],
            )
        )
        new.replace(self.list)

    def renew(self, *processes: str) -> None:
        """New certificates and lists, made as `guqiao dev up` makes them."""
        for name in processes:
            self.of(name).unlink()
        pki.ensure_certificates(self.layout, self.provider, print)

    def expire(self, process: str) -> None:
        """A certificate of the process that ended an hour ago."""
        info = parse_certificate(self.of(process).read_bytes())
        assert info.identity is not None
        hour, now = timedelta(hours=1), datetime.now(UTC)
        self.of(process).write_bytes(
            self.authority.issue(
                info.identity,
                info.public_key,
                organisation=info.organisation,
                common_name=info.common_name,
                not_before=now - 2 * hour,
                not_after=now - hour,
            )
        )


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OneMachine]:
    """A network with the first events of market-tiny, so that every link of it is in use."""
    folder = tmp_path_factory.mktemp("network")
    machine = OneMachine(folder / "data")
    with pytest.MonkeyPatch.context() as patch:
        for service in ("CONSENSUS", "GATEWAY"):
            patch.setenv(f"GUQIAO_{service}_GM__WATCH_SECONDS", "0.2")
        try:
            machine.up()
            import_events(machine, folder, 40)
            wait_until("the first events are anchored", lambda: anchored(machine) > 0)
            yield machine
        finally:
            machine.close()


def import_events(machine: OneMachine, folder: Path, count: int) -> bytes:
    """Import the first events of market-tiny; how each ended. Those that were imported before are
    repeated, which changes nothing.
    """
    part = folder / f"first{count}"
    shutil.copytree(TINY, part)
    events = (TINY / "events.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    (part / "events.jsonl").write_text("".join(events[:count]), encoding="utf-8")
    machine.must("import", part, "--results", part / "results.csv")
    return (part / "results.csv").read_bytes()


def expected(count: int) -> bytes:
    """How these events are judged."""
    lines = (TINY / "expected" / "results.csv").read_bytes().splitlines(keepends=True)
    return b"".join(lines[: count + 1])


def anchored(machine: OneMachine) -> int:
    """How many data objects the regulator has acknowledged, once it is all of them."""

    async def ask() -> int:
        provider, network = open_provider(), machine.network
        maker = open_identity(network, provider, MARKET, "maker")
        async with open_service(network, provider, maker, MARKET, "gateway") as channel:
            request = gateway_service_pb2.GetLinkRequest(remote_chain_id=CSRC)
            link = await GatewayServiceStub(channel).GetLink(request)
        return int(link.sent) if link.sent == link.acknowledged else 0

    return asyncio.run(ask())


def wait_level(machine: OneMachine) -> None:
    """Until all four replicas of the market stand at one state."""

    async def level() -> None:
        provider, network = open_provider(), machine.network
        maker = open_identity(network, provider, MARKET, "maker")
        async with open_chain(network, provider, MARKET, maker) as client:
            await wait_equal_roots(client)

    asyncio.run(level())


def status(machine: OneMachine) -> list[dict[str, Any]]:
    """What the supervisor says of every process."""
    answer = asyncio.run(ask(machine.folder / "run", {"command": "status"}))
    return list(answer["processes"])


def whys(machine: OneMachine) -> dict[str, str]:
    """What each process that is not ready says."""
    return {one["name"]: one["why"] for one in status(machine) if one["state"] != "ready"}


def all_say(machine: OneMachine, names: set[str], text: str) -> bool:
    """Whether these, and nobody else, are not ready for this reason: what they say first may be
    that a quorum is away.
    """
    said = whys(machine)
    return names == set(said) and all(text in why for why in said.values())


def identity(replica: int) -> str:
    return f"guqiao:replica:shandong/{replica}"


def starts(machine: OneMachine) -> dict[str, tuple[int, int]]:
    return {one["name"]: (one["pid"], one["starts"]) for one in status(machine)}


def cuts(machine: OneMachine, process: str, reason: str) -> set[str]:
    """The identities whose live links the process cut for this reason, as its log says."""
    lines = machine.network.layout.log(process).read_text().splitlines()
    records = [json.loads(line) for line in lines if '"gm_tls.peer_refused"' in line]
    return {
        record["identity"]
        for record in records
        if record["reason"] == reason and record["detail"].startswith("live link cut")
    }


def wait_until_the_regulator_cut_the_gateway(machine: OneMachine, reason: str) -> None:
    """It looks at the files at a time of its own, whatever the market's processes saw before."""
    gateway = {"guqiao:service:shandong/gateway"}
    wait_until(
        "the regulator cut the gateway's link",
        lambda: cuts(machine, "csrc-gateway", reason) == gateway,
    )


def complaints(machine: OneMachine) -> dict[str, Any]:
    """What `guqiao doctor` finds wrong: what, and with which remedy."""
    answer = machine.run("doctor", "-o", "json")
    found = {row["check"]: row for row in answer.json() if not row["ok"]}
    assert answer.code == (6 if found else 0)
    return found


@pytest.mark.req("G2-09-6", "G2-16-1", "G2-13-2")
def test_a_revoked_replica_and_gateway_lose_their_links_and_the_rest_goes_on_deciding(
    machine: OneMachine, tmp_path: Path
) -> None:
    before, carried = starts(machine), anchored(machine)
    certificates, revoked = Certificates(machine), {"shandong-2", "shandong-gateway"}
    certificates.publish(*revoked)
    wait_until(
        "the revoked say so", lambda: all_say(machine, revoked, "it was revoked; issue a new one")
    )
    others = sorted(REPLICAS - revoked)
    wait_until("cut", lambda: all(cuts(machine, name, "revoked") for name in others))
    for name in others:
        assert cuts(machine, name, "revoked") == {identity(2)}
    wait_until_the_regulator_cut_the_gateway(machine, "revoked")
    found = complaints(machine)["certificates"]
    assert all(name in found["found"] for name in revoked)
    assert "tls.pem" in found["remedy"]

    assert import_events(machine, tmp_path, 80) == expected(80)
    assert set(whys(machine)) == revoked

    certificates.renew(*revoked)
    machine.wait_ready()
    wait_level(machine)
    wait_until("what waited is anchored", lambda: anchored(machine) > carried)
    assert complaints(machine) == {}
    assert starts(machine) == before


@pytest.mark.req("G2-09-6", "G2-16-1", "G2-13-2")
def test_a_list_that_ends_cuts_its_links_and_a_new_one_brings_them_back(
    machine: OneMachine, tmp_path: Path
) -> None:
    before, carried = starts(machine), anchored(machine)
    Certificates(machine).publish(ends_in=timedelta(seconds=4))
    affected = REPLICAS | {"shandong-gateway"}
    ended = "the revocation list is out of date; fetch or issue a new one"
    wait_until("the links are cut", lambda: all_say(machine, affected, ended))
    wait_until(
        "no replica has a link",
        lambda: all("1 replicas linked, 3 needed" in whys(machine)[name] for name in REPLICAS),
    )
    assert "the revocation list is out of date" in machine.must("dev", "status").out
    said = [cuts(machine, f"shandong-{number}", "crl_stale") for number in range(4)]
    for one, other in itertools.combinations(range(4), 2):  # The end that looked first cut it.
        assert identity(other) in said[one] or identity(one) in said[other]
    wait_until_the_regulator_cut_the_gateway(machine, "crl_stale")
    (found,) = complaints(machine).values()
    assert (found["check"], "shandong" in found["found"]) == ("revocation lists", True)
    assert "guqiao dev up" in found["remedy"]

    pki.renew_crls(machine.network.layout, open_provider())
    machine.wait_ready()
    assert import_events(machine, tmp_path, 120) == expected(120)
    wait_level(machine)
    wait_until("what came after is anchored", lambda: anchored(machine) > carried)
    assert complaints(machine) == {}
    assert starts(machine) == before


@pytest.mark.req("G2-09-4", "G2-16-1")
@pytest.mark.parametrize(
    ("name", "process", "peer"),
    [
        ("guqiao:replica:shandong/0", "shandong-1.peer", "guqiao:replica:shandong/1"),
        ("guqiao:service:shandong/gateway", "csrc-gateway.tunnel", "guqiao:service:csrc/gateway"),
    ],
)
async def test_another_domains_authority_vouches_for_nobody_in_this_one(
    machine: OneMachine, tmp_path: Path, name: str, process: str, peer: str
) -> None:
    """The same name from its own authority is let in, so it is the authority that decides."""
    port = machine.network.ports[process]
    for issuer in (CSRC, MARKET):
        files = issue(machine.network.layout, issuer, name, tmp_path / issuer)
        dialling = open_connection("127.0.0.1", port, GmTlsIdentity(files), expected_peer=peer)
        if f":{issuer}/" in name:
            (await dialling).close()
            continue
        with pytest.raises(RefusedByPeerError):
            await dialling


@pytest.mark.req("G2-18-1")
async def test_a_markets_gateway_opens_all_links_itself_and_lets_not_even_the_regulator_in(
    machine: OneMachine, tmp_path: Path
) -> None:
    files = issue(machine.network.layout, CSRC, "guqiao:service:csrc/gateway", tmp_path / CSRC)
    port, peer = machine.network.ports["shandong-gateway.tunnel"], "guqiao:service:shandong/gateway"
    with pytest.raises(RefusedByPeerError):
        await open_connection("127.0.0.1", port, GmTlsIdentity(files), expected_peer=peer)


def issue(layout: Layout, issuer: str, name: str, folder: Path) -> GmTlsFiles:
    """A certificate of `name` by that domain's authority, for one who trusts both."""
    provider, now, hour = open_provider(), datetime.now(UTC), timedelta(hours=1)
    key = provider.keygen()
    folder.mkdir()
    save_private_key(folder / "key", key)
    own = layout.authority(issuer)
    authority = CertificateAuthority(
        provider, (own / "ca.pem").read_bytes(), load_private_key(own / "ca.key", provider)
    )
    content = authority.issue(
        name,
        key.public_key,
        organisation="示例机构",
        common_name="forged",
        not_before=now - hour,
        not_after=now + hour,
    )
    (folder / "certificate").write_bytes(content)
    authorities = tuple(
        AuthorityFiles(each / "ca.pem", each / "crl.pem", frozenset({domain}))
        for domain, each in ((domain, layout.authority(domain)) for domain in (CSRC, MARKET))
    )
    return GmTlsFiles(folder / "certificate", folder / "key", authorities)


@pytest.mark.req("G2-09-4", "G2-09-6", "G2-13-2")
def test_a_process_started_with_an_expired_or_missing_certificate_says_so_and_leaves_nothing(
    machine: OneMachine,
) -> None:
    """The last test upon this network."""
    machine.must("dev", "down")
    certificates, names = Certificates(machine), ("shandong-1", "shandong-gateway")
    data = machine.folder / "processes" / "shandong-1" / "data"
    data.rename(data.with_name("kept"))
    for name in names:
        certificates.expire(name)
    for name, (code, out, err) in started(machine, *names).items():
        assert_refused(code, out, err, "CERTIFICATE_EXPIRED", "Renew the certificate")
        assert f"shandong/{'1' if name == 'shandong-1' else 'gateway'}" in err
    for name in names:
        certificates.of(name).unlink()
    for name, (code, out, err) in started(machine, *names).items():
        assert_refused(code, out, err, "CERTIFICATE_MISSING", "Configure your organisation's")
        assert str(certificates.of(name)) in err
    assert machine.processes() == {}
    assert not data.exists()


def started(machine: OneMachine, *names: str) -> dict[str, tuple[int, str, str]]:
    """Start these processes as the supervisor does, but alone; how they end."""
    plans = {plan.name: plan for group in process_plans(machine.network) for plan in group}
    running = {
        name: subprocess.Popen(
            [sys.executable, "-m", plans[name].module, *plans[name].arguments],
            cwd=ROOT,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for name in names
    }
    try:
        said = {name: one.communicate(timeout=START_SECONDS_MAX) for name, one in running.items()}
        return {name: (running[name].returncode, *said[name]) for name in names}
    finally:
        for one in running.values():
            one.kill()
            one.wait()


def assert_refused(exit_code: int, out: str, err: str, code: str, remedy: str) -> None:
    """One line for people, one for the log, and nothing else."""
    assert exit_code == 2, (out, err)
    logged, line = err.splitlines()
    assert (json.loads(logged)["event"], json.loads(logged)["code"]) == ("process.refused", code)
    assert line.startswith(f"{code}: ")
    assert remedy in line
    assert out == ""
