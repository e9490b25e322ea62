"""`guqiao chain conformance` on a running network: read on this machine and, once the chain is
registered, over GM-TLS; its report and its probes are what the registration goes on with.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from guqiao_sdk.conformance.findings import BETWEEN, OF_A_NODE
from guqiao_sdk.conformance.node_checks import BLOCK_BYTES_MAX
from guqiao_sdk.gm.keyfile import load_private_key
from guqiao_sdk.gm.provider import open_provider
from guqiaoctl.commands.registering import SEALERS
from guqiaoctl.network.parties import CSRC, MARKET
from tests.end_to_end.harness import TINY, Answer, OneMachine, guqiao, wait_until
from tests.unit.conformance import served_node

HOSTS: Final = ("127.0.0.1", "127.0.0.2")

pytestmark = [pytest.mark.end_to_end, pytest.mark.req("G2-06-4", "G2-10-2e", "T2-16")]


@contextmanager
def gm_ends(machine: OneMachine) -> Iterator[list[str]]:
    """GM-TLS ends of the market's first two replicas on two hosts, as sidecars are: URLs."""
    network = machine.network
    targets = [(host, network.ports[f"{MARKET}-{n}.grpc"]) for n, host in enumerate(HOSTS)]
    with served_node.gm_ends(network.layout, targets) as ports:
        yield [f"tlcp://{host}:{port}" for host, port in zip(HOSTS, ports, strict=True)]


def on_loopback(machine: OneMachine, chain: str, *addresses: str) -> list[object]:
    """The options for a chain that is not registered: two of its replicas, and whom to believe."""
    ports = [machine.network.address(f"{chain}-{number}.grpc") for number in range(2)]
    named = addresses or (ports[0], f"1@{ports[1]}")
    options: list[object] = ["--trust", machine.network.layout.chain_trust(chain)]
    for each in named:
        options += ["--endpoint", each]
    return options


def examined(machine: OneMachine, chain: str, *options: object, language: str = "en") -> Answer:
    return machine.run("chain", "conformance", chain, *options, language=language)


def wrong_of(answer: Answer) -> dict[tuple[str, str], str]:
    """What was not passed, by node and check, with its code."""
    checks = answer.json()["checks"]
    return {(each["node"], each["check"]): each["code"] for each in checks if each["code"]}


def test_a_chain_is_examined_on_loopback_and_over_gm_tls_and_is_admitted(
    unregistered_machine: OneMachine, tmp_path: Path
) -> None:
    machine = unregistered_machine
    nothing_to_show_yet(machine)
    machine.must("import", TINY, "-o", "json")
    a_chain_that_is_not_registered_is_examined(machine, tmp_path)
    wrong_nodes_fail(machine)
    wrong_command_lines_are_refused(machine, tmp_path)
    with gm_ends(machine) as urls:
        value = registered_with(machine, urls, tmp_path)
        report, probes = tmp_path / "report.json", tmp_path / "probes.json"
        asked = ("--out", report, "--probes-out", probes, "-o", "json")
        answer = examined(machine, MARKET, *asked)
        assert (answer.code, wrong_of(answer)) == (0, {}), answer.err
        found = answer.json()
        assert [each["url"] for each in found["endpoints"]] == urls
        assert {each["transport"] for each in found["endpoints"]} == {"GM-TLS (RFC 8998)"}
        shown = machine.must("chain", "show", MARKET, "-o", "json").json()
        assert found["registration_digest"] == shown["registration"]["digest"]
        assert [each["url"] for each in json.loads(probes.read_bytes())] == urls
        machine.must("chain", "report", MARKET, "--report", report, "--probes", probes)
        assert status(machine) == "CONFORMANCE_PASSED"
        other_schemes_and_certificates_are_not_passed(machine, value, tmp_path)
    answer = examined(machine, MARKET, "-o", "json")
    assert answer.code == 7
    assert {wrong_of(answer)[url, "link"] for url in urls} == {"CONFORMANCE_LINK_FAILED"}
    the_regulatory_chain_is_examined_too(machine)


def nothing_to_show_yet(machine: OneMachine) -> None:
    """Without a transaction its checks are not made, and that is not a pass."""
    answer = examined(machine, MARKET, *on_loopback(machine, MARKET), "-o", "json")
    assert (answer.code, answer.error) == (7, "CONFORMANCE_FAILED")
    lacking = {code for (_, check), code in wrong_of(answer).items() if check == "objects"}
    assert lacking <= {"CONFORMANCE_NO_SAMPLE", "CONFORMANCE_DEPENDS"}


def a_chain_that_is_not_registered_is_examined(machine: OneMachine, folder: Path) -> None:
    report = folder / "first.json"
    options = on_loopback(machine, MARKET)
    answer = examined(machine, MARKET, *options, "--out", report)
    assert answer.code == 0, answer.out + answer.err
    assert answer.out.count(" passed") == 2 * len(OF_A_NODE) + len(BETWEEN)
    chinese = examined(machine, MARKET, *options, language="zh").out
    assert "区块内的数据对象" in chinese
    assert "未通过" not in chinese

    key = load_private_key(machine.network.layout.account(CSRC, "tech"), open_provider())
    pinned = ("--issuer-key", key.public_key.hex())
    verified = guqiao("chain", "verify-report", report, *pinned, "-o", "json")
    assert (verified.code, verified.json()["passed"]) == (0, True)
    changed = folder / "changed.json"
    changed.write_bytes(report.read_bytes().replace(b'"common_height":', b'"common_height":1'))
    for arguments, code in (
        ((changed,), 7),
        ((report, "--issuer-key", "04" * 65), 7),
        ((report, "--issuer-key", "x"), 2),
    ):
        assert guqiao("chain", "verify-report", *arguments).code == code


def the_regulatory_chain_is_examined_too(machine: OneMachine) -> None:
    """It keeps its objects in the state, which proves them, now that it takes the market's."""
    options = on_loopback(machine, CSRC)
    wait_until("objects are recorded", lambda: examined(machine, CSRC, *options).code == 0)


def wrong_nodes_fail(machine: OneMachine) -> None:
    """One node by two names, another chain's node, and nobody."""
    market, other = (machine.network.address(f"{chain}-0.grpc") for chain in (MARKET, CSRC))
    for second, code in (
        (f"1@{market}", "CONFORMANCE_UNANSWERED"),  # What is signed for replica 1, it refuses.
        (f"1@{other}", "CONFORMANCE_UNANSWERED"),
        ("1@127.0.0.1:1", "CONFORMANCE_UNANSWERED"),
    ):
        options = on_loopback(machine, MARKET, market, second)
        answer = examined(machine, MARKET, *options, "-o", "json")
        wrong = wrong_of(answer)
        assert (answer.code, wrong[second, "link"]) == (7, code)
        assert wrong["", "two_nodes"] == "CONFORMANCE_ANSWER_WRONG"
        assert (market, "link") not in wrong


def wrong_command_lines_are_refused(machine: OneMachine, folder: Path) -> None:
    trust = machine.network.layout.chain_trust(MARKET)
    for options, code, error in (
        ((), 3, "CHAIN_UNKNOWN"),
        (("--trust", trust), 2, "REQUEST_MALFORMED"),
        (("--trust", trust, "--endpoint", "10.3.0.1:8443"), 2, "REQUEST_MALFORMED"),
        (("--trust", trust, "--endpoint", "x@127.0.0.1:1"), 2, "REQUEST_MALFORMED"),
        (("--trust", folder, "--endpoint", "127.0.0.1:1"), 2, "REQUEST_MALFORMED"),
    ):
        answer = examined(machine, MARKET, *options)
        assert (answer.code, answer.error) == (code, error), answer.err


def status(machine: OneMachine) -> str:
    found = machine.must("chain", "show", MARKET, "-o", "json").json()
    return str(found["standing"]["status"])


def registered_with(machine: OneMachine, urls: list[str], folder: Path) -> dict[str, Any]:
    """Register the market's chain with these endpoints, up to the test."""
    file = folder / "registration.json"
    machine.must("chain", "draft", "--out", file)
    value: dict[str, Any] = json.loads(file.read_bytes())
    for row, url in zip(value["rpc_endpoints"], urls, strict=True):
        row["url"] = url
    file.write_text(json.dumps(value), encoding="utf-8")
    authority = machine.network.layout.authority(MARKET)
    machine.must("chain", "trust-root", authority / "ca.pem")
    machine.must("chain", "publish-crl", authority / "crl.pem")
    machine.must("chain", "register", file)
    machine.must("chain", "draft-certificates", "--out", folder / "seals")
    signers = [folder / "seals" / f"{name}.pem" for name in SEALERS]
    machine.must("chain", "file-certificate", MARKET, *signers)
    machine.must("chain", "countersign", MARKET)
    machine.must("chain", "start-test", MARKET)
    return value


def other_schemes_and_certificates_are_not_passed(
    machine: OneMachine, value: dict[str, Any], folder: Path
) -> None:
    """An update that waits: one node by a scheme that is not spoken here, and the other one at the
    address of a replica whose certificate is not his.
    """
    machine.must("chain", "approve", MARKET)
    first, second = value["rpc_endpoints"]
    changed = {
        **value,
        "rpc_endpoints": [
            {**first, "url": f"{second['url']}", "host_id": "host-8"},
            {**second, "url": "grpcs://10.3.0.9:8443", "host_id": "host-9"},
        ],
    }
    file = folder / "changed-registration.json"
    file.write_text(json.dumps(changed), encoding="utf-8")
    machine.must("chain", "update", file)
    answer = examined(machine, MARKET, "--pending", "-o", "json")
    wrong = wrong_of(answer)
    assert answer.code == 7
    assert wrong[second["url"], "link"] == "CONFORMANCE_LINK_FAILED"
    assert wrong["grpcs://10.3.0.9:8443", "link"] == "CONFORMANCE_TRANSPORT_UNSUPPORTED"
    assert examined(machine, MARKET).code == 0


def test_the_largest_block_that_a_node_states_is_within_the_bound(
    unregistered_machine: OneMachine,
) -> None:
    """Stated by each node of the network; the checks above hold the blocks to it."""
    options = on_loopback(unregistered_machine, MARKET)
    answer = examined(unregistered_machine, MARKET, *options, "-o", "json")
    assert not [check for _, check in wrong_of(answer) if check in ("options", "block_size")]
    assert BLOCK_BYTES_MAX == 16 * 1024 * 1024
