"""`guqiao chain conformance`: over loopback and GM-TLS to nodes that answer over real gRPC."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

import pytest

from guqiao_sdk.conformance.findings import BETWEEN, OF_A_NODE, Check, Result
from guqiao_sdk.conformance.port import Bounds
from guqiao_sdk.conformance.suite import Examination, examine
from guqiao_sdk.gm.certificates import replica_identity
from guqiao_sdk.gm.keyfile import load_private_key
from guqiao_sdk.gm.provider import open_provider
from guqiao_sdk.proof.json_values import canonical_json
from guqiaoctl.commands.conformance_links import (
    Dialled,
    Reader,
    open_nodes,
    registered_endpoints,
)
from guqiaoctl.network.chain_draft import draft_registration
from guqiaoctl.network.clients import open_identity
from guqiaoctl.network.genesis import ensure_genesis
from guqiaoctl.network.layout import Network, create_network
from guqiaoctl.network.node_ends import open_node_ends
from guqiaoctl.network.parties import CSRC, MARKET
from guqiaoctl.network.pki import ensure_certificates
from services.chassis.gm_tls import (
    AuthorityFiles,
    GmTlsError,
    GmTlsFiles,
    GmTlsIdentity,
    open_connection,
)
from services.consensus.domain.contracts.chain_registry.form import read_registration
from tests.unit.cli.running import Command, Ended, command_of
from tests.unit.conformance.honest_node import HonestNode, make_chain, subject_of
from tests.unit.conformance.served_node import gm_ends, serving
from tests.unit.proof.proof_keys import Sm2Keys
from tests.unit.xchain.ledger_chain import LedgerChain

HOSTS: Final = ("127.0.0.1", "127.0.0.2")

pytestmark = pytest.mark.req("G2-06-4", "G2-10-2e", "T2-16")


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    return command_of("chain", monkeypatch, capsys)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Network:
    """A network's folder with keys, certificates and genesis files; nothing of it runs."""
    provider = open_provider()
    made = create_network(tmp_path_factory.mktemp("conformance") / "network")
    ensure_certificates(made.layout, provider, print)
    ensure_genesis(made.layout, provider, print)
    return made


@pytest.fixture(scope="module")
def chain() -> LedgerChain:
    return make_chain(keys=Sm2Keys(open_provider()))


@pytest.fixture(scope="module")
def ports(chain: LedgerChain) -> Iterator[list[int]]:
    """Two nodes of the chain, and one that is far behind."""
    chain_of_three = [HonestNode(chain, 0), HonestNode(chain, 1), HonestNode(chain, 1, top=2)]
    with serving(chain_of_three) as found:
        yield found


@pytest.fixture
def trust(chain: LedgerChain, tmp_path: Path) -> Path:
    """What is believed of the chain, as a file."""
    replica_set = chain.genesis.replica_set
    path = tmp_path / "trust.json"
    path.write_bytes(
        canonical_json(
            {
                "chain_id": MARKET,
                "genesis_hash": chain.genesis.hash().hex(),
                "epoch": 0,
                "replicas": [
                    {
                        "entity_id": each.entity_id,
                        "entity_name": each.entity_name,
                        "vote_key": each.public_key.hex(),
                    }
                    for each in replica_set.members
                ],
            }
        )
    )
    return path


def wrong_of(ended: Ended) -> dict[tuple[str, str], str]:
    """What was not passed, by node and check, with its code."""
    return {(each["node"], each["check"]): each["code"] for each in ended.json["checks"]
            if each["code"]}  # fmt: skip


# --- On this machine ------------------------------------------------------------------------------


@pytest.fixture
def options(network: Network, trust: Path) -> tuple[str | Path, ...]:
    return (MARKET, "--data", network.layout.folder, "--trust", trust)


def test_nodes_that_answer_pass_and_report_and_probes_are_written(
    command: Command, network: Network, options: tuple[Any, ...], ports: list[int], tmp_path: Path
) -> None:
    urls = [f"127.0.0.1:{ports[0]}", f"1@127.0.0.1:{ports[1]}"]
    report, probes = tmp_path / "report.json", tmp_path / "probes.json"
    asked = (*options, "--endpoint", urls[0], "--endpoint", urls[1])
    ended = command("conformance", *asked, "--out", report, "--probes-out", probes)
    assert ended.code == 0, ended.out + ended.err
    assert ended.out.count("  passed") == 2 * len(OF_A_NODE) + len(BETWEEN)
    assert json.loads(probes.read_bytes()) == [
        {"url": url, "chain_id": MARKET, "height": 5} for url in urls
    ]
    chinese = command("conformance", *asked, language="zh")
    assert "区块内的数据对象" in chinese.out
    assert "未" not in chinese.out

    key = load_private_key(network.layout.account(CSRC, "tech"), open_provider())
    own_key = key.public_key.hex()
    verified = command("verify-report", report, "--issuer-key", own_key, "-o", "json")
    assert (verified.code, verified.json["passed"], verified.json["issuer_key"]) == (
        0, True, own_key
    )  # fmt: skip
    assert "passed" in command("verify-report", report).out


def test_a_report_that_was_changed_or_is_of_another_issuer_is_refused(
    command: Command, options: tuple[Any, ...], ports: list[int], tmp_path: Path
) -> None:
    report = tmp_path / "report.json"
    ended = command("conformance", *options, "--endpoint", f"127.0.0.1:{ports[0]}", "--out", report)
    assert (ended.code, ended.err.splitlines()[-1].partition(":")[0]) == (7, "CONFORMANCE_FAILED")
    verified = command("verify-report", report, "-o", "json")
    assert (verified.code, verified.json["passed"]) == (0, False)
    changed = tmp_path / "changed.json"
    changed.write_bytes(report.read_bytes().replace(b'"passed":false', b'"passed":true'))
    for arguments, code, error in (
        ((changed,), 7, "CONFORMANCE_REPORT_INVALID"),
        ((report, "--issuer-key", "04" * 65), 7, "CONFORMANCE_REPORT_INVALID"),
        ((report, "--issuer-key", "x"), 2, "REQUEST_MALFORMED"),
        ((tmp_path / "none",), 3, "FILE_UNREADABLE"),
    ):
        for language, colon in (("en", ":"), ("zh", "：")):
            ended = command("verify-report", *arguments, language=language)
            assert (ended.code, ended.err.partition(colon)[0]) == (code, error)


def test_nodes_that_are_away_or_behind_fail_and_say_why(
    command: Command, options: tuple[Any, ...], ports: list[int]
) -> None:
    good = f"127.0.0.1:{ports[0]}"
    for second, check, code in (
        ("1@127.0.0.1:1", ("1@127.0.0.1:1", "link"), "CONFORMANCE_UNANSWERED"),
        (f"2@127.0.0.1:{ports[1]}", (f"2@127.0.0.1:{ports[1]}", "status"),
         "CONFORMANCE_ANSWER_WRONG"),
        (f"1@{good}", ("", "two_nodes"), "CONFORMANCE_ANSWER_WRONG"),
    ):  # fmt: skip
        asked = (*options, "--endpoint", good, "--endpoint", second)
        ended = command("conformance", *asked, "-o", "json")
        assert (ended.code, ended.json["passed"]) == (7, False)
        assert wrong_of(ended)[check] == code
    table = command("conformance", *options, "--endpoint", good, language="zh")
    assert "未通过" in table.out
    assert "CONFORMANCE_FAILED：链 shandong 未通过符合性测试" in table.err


def test_wrong_command_lines_are_refused_before_anybody_is_asked(
    command: Command, network: Network, options: tuple[Any, ...], tmp_path: Path
) -> None:
    for more in (
        (),
        ("--endpoint", "10.3.0.1:8443"),
        ("--endpoint", "regulator.example:8443"),
        ("--endpoint", "x@127.0.0.1:1"),
        ("--endpoint", "127.0.0.1:0"),
        ("--endpoint", "127.0.0.1"),
    ):
        ended = command("conformance", *options, *more)
        assert (ended.code, ended.err.partition(":")[0]) == (2, "REQUEST_MALFORMED"), more
    other = network.layout.chain_trust(CSRC)
    for trust in (other, tmp_path, tmp_path / "none"):
        ended = command(
            "conformance", MARKET, "--data", network.layout.folder, "--trust", trust,
            "--endpoint", "127.0.0.1:1",
        )  # fmt: skip
        assert (ended.code, ended.err.partition(":")[0]) == (2, "REQUEST_MALFORMED")


# --- Over GM-TLS ----------------------------------------------------------------------------------


def reached(network: Network, chain: LedgerChain, *places: Dialled) -> Examination:
    """The chain examined over links as they are registered."""
    provider = open_provider()
    reader = Reader(open_identity(network, provider, CSRC, "gateway"), provider, network)

    async def run() -> Examination:
        async with AsyncExitStack() as stack:
            endpoints = await open_nodes(stack, MARKET, places, reader)
            return await examine(subject_of(chain), endpoints, provider.verify, Bounds())

    return asyncio.run(run())


def link_of(examination: Examination, url: str) -> tuple[Result, str]:
    [found] = [
        each for each in examination.findings if (each.node, each.check) == (url, Check.LINK)
    ]
    return found.result, found.code


def test_registered_nodes_are_read_over_gm_tls_as_exactly_that_replica(
    network: Network, chain: LedgerChain, ports: list[int]
) -> None:
    targets = list(zip(HOSTS, ports, strict=False))
    with gm_ends(network.layout, targets) as found:
        places = [
            Dialled(f"tlcp://{host}:{port}", host, port, number, "tlcp")
            for number, (host, port) in enumerate(zip(HOSTS, found, strict=True))
        ]
        made = reached(network, chain, *places)
        assert made.passed, made.findings
        assert {each.transport for each in made.endpoints} == {"GM-TLS (RFC 8998)"}
        # Where replica 1 is registered, replica 0 shows its certificate.
        wrong = Dialled("tlcp://wrong:1", HOSTS[0], found[0], 1, "tlcp")
        made = reached(network, chain, places[0], wrong)
        assert link_of(made, wrong.url) == (Result.FAILED, "CONFORMANCE_LINK_FAILED")
        assert not made.passed
    assert link_of(reached(network, chain, *places), places[0].url)[0] is Result.FAILED


def test_what_is_not_spoken_or_not_known_is_not_checked(
    network: Network, chain: LedgerChain, tmp_path: Path
) -> None:
    places = [
        Dialled("https://10.3.0.1:8443", "10.3.0.1", 8443, 0, "https"),
        Dialled("grpcs://10.3.0.2:8443", "10.3.0.2", 8443, 1, "grpcs"),
        Dialled("tlcp://10.3.0.3:8443", "10.3.0.3", 8443, None, "tlcp"),
    ]
    made = reached(network, chain, *places)
    assert [link_of(made, each.url) for each in places] == [
        (Result.NOT_CHECKED, "CONFORMANCE_TRANSPORT_UNSUPPORTED"),
        (Result.NOT_CHECKED, "CONFORMANCE_TRANSPORT_UNSUPPORTED"),
        (Result.NOT_CHECKED, "CONFORMANCE_NODE_UNKNOWN"),
    ]
    assert Result.PASSED not in {each.result for each in made.findings}
    bare = create_network(tmp_path / "bare")
    ensure_certificates(bare.layout, open_provider(), print)
    ensure_genesis(bare.layout, open_provider(), print)
    (bare.layout.process("csrc-gateway") / "tls.pem").unlink()
    place = Dialled("tlcp://127.0.0.1:1", "127.0.0.1", 1, 0, "tlcp")
    made = reached(bare, chain, place)
    assert link_of(made, place.url) == (Result.NOT_CHECKED, "CONFORMANCE_LINK_OURS")


def test_a_registration_says_where_each_node_is_and_which_replica(network: Network) -> None:
    value = json.loads(draft_registration(network, open_provider()))
    value["rpc_endpoints"][1]["node_id"] = "observer-1"
    value["rpc_endpoints"].append(
        {**value["rpc_endpoints"][0], "url": "tlcp://10.3.0.7:8443", "host_id": "h", "node_id": "x"}
    )
    assert "shandong-0.guqiao.internal" in value["rpc_endpoints"][0]["url"]
    moved = Network(network.layout, "", "", {**network.ports, "shandong-0.tunnel": 7})
    found = registered_endpoints(read_registration(value), moved)
    assert [(each.scheme, each.host, each.port, each.replica) for each in found] == [
        ("tlcp", "127.0.0.1", 7, 0),
        ("tlcp", "127.0.0.1", network.ports["shandong-1.tunnel"], None),
        ("tlcp", "10.3.0.7", 8443, None),
    ]


async def test_a_network_serves_the_nodes_that_its_draft_registers_to_the_regulator_alone(
    network: Network, chain: LedgerChain, ports: list[int]
) -> None:
    served = {f"{MARKET}-{number}.grpc": port for number, port in enumerate(ports[:2])}
    moved = Network(network.layout, "", "", {**network.ports, **served})
    value = read_registration(json.loads(draft_registration(moved, open_provider())))
    places = registered_endpoints(value, moved)
    async with open_node_ends(moved):
        made = await asyncio.to_thread(reached, moved, chain, *places)
        assert made.passed, made.findings
        stranger = moved.layout.process(f"{MARKET}-gateway")
        with pytest.raises(GmTlsError):
            await open_connection(
                places[0].host,
                places[0].port,
                GmTlsIdentity(
                    GmTlsFiles(stranger / "tls.pem", stranger / "tls.key", authorities(moved))
                ),
                expected_peer=replica_identity(MARKET, 0),
            )
    made = await asyncio.to_thread(reached, moved, chain, *places)
    assert link_of(made, places[0].url)[1] == "CONFORMANCE_LINK_FAILED"


def authorities(network: Network) -> tuple[AuthorityFiles, ...]:
    return tuple(
        AuthorityFiles(path / "ca.pem", path / "crl.pem", frozenset({domain}))
        for domain, path in ((each, network.layout.authority(each)) for each in (CSRC, MARKET))
    )
