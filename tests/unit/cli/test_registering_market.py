"""How a network on one machine registers its market's chain: by every step of `chains`.

The regulatory chain's real genesis and contracts execute what the accounts sign with their real
keys; only links and the examination of running nodes are stood in for.
"""

from __future__ import annotations

import shutil
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import pytest

from guqiao_sdk.client.transactions import TransactionResult
from guqiao_sdk.conformance.findings import BETWEEN, OF_A_NODE, Check, Finding, Result
from guqiao_sdk.conformance.port import Endpoint, Subject, Unreachable
from guqiao_sdk.conformance.suite import Examination
from guqiao_sdk.gm.keyfile import load_private_key
from guqiao_sdk.gm.provider import GmProvider, open_provider
from guqiao_sdk.proof.batch import Batch
from guqiao_sdk.proof.json_values import Json, parse_json_strict
from guqiao_sdk.proof.receipt import Receipt
from guqiao_sdk.proof.transaction import Payload, SignedTransaction, transaction_sign_bytes
from guqiaoctl.commands import registering
from guqiaoctl.commands.chain_calls import accepted
from guqiaoctl.commands.chain_registry import BOTH, SIGNERS, Signers
from guqiaoctl.commands.conformance_links import Dialled
from guqiaoctl.commands.registering import SEALERS, register_market
from guqiaoctl.failures import CliError
from guqiaoctl.network.genesis import KEY_ID, ensure_genesis, remote_chain
from guqiaoctl.network.layout import Network, create_network, load_network
from guqiaoctl.network.parties import CSRC, MARKET, account
from guqiaoctl.network.pki import ensure_certificates
from services.consensus.domain.contracts.catalogue import standard_catalogue
from services.consensus.domain.contracts.chain_registry.sealing import seal_key
from services.consensus.domain.contracts.chain_registry.standing import registration_key
from services.consensus.domain.ledger.admission import read_transaction
from services.consensus.domain.ledger.execution import execute_block
from services.consensus.domain.ledger.genesis import genesis_header, genesis_state
from services.consensus.domain.ledger.genesis_json import parse_genesis
from tests.unit.xchain.ledger_chain import MemoryState

REPLICAS_PROBED: Final = 2
STEPS: Final = (
    "trust_root", "publish_crl", "submit", "countersign", "start_test", "report", "approve",
)  # fmt: skip

pytestmark = pytest.mark.req("G2-10-1", "G2-10-2e", "G2-05-1")


@dataclass
class RegulatoryChain:
    """What the regulatory chain of a network makes of transactions, one a block."""

    network: Network
    provider: GmProvider
    steps: list[str] = field(default_factory=list)
    cut_off_before: str = ""

    def __post_init__(self) -> None:
        self.genesis = parse_genesis(self.network.layout.genesis(CSRC).read_bytes())
        self.state = MemoryState(dict(genesis_state(self.genesis)))
        self.header = genesis_header(self.genesis)

    def value(self, key: str) -> Any:
        found = self.state.values.get(key.encode())
        return None if found is None else parse_json_strict(found, depth_max=16, size_max=1 << 21)

    def call(
        self, contract: str, method: str, body: Mapping[str, Json], signers: Signers
    ) -> Receipt:
        people = [account(*each) for each in signers]
        payload = Payload(
            chain=CSRC,
            maker=(people[0].did, KEY_ID),
            checker=(people[1].did, KEY_ID) if len(people) > 1 else None,
            organisation=people[0].organisation.did,
            request_id=str(uuid.uuid4()),
            expires_height=self.header.height + 100,
            expires_time_ms=time.time_ns() // 1_000_000 + 60_000,
            after=None,
            contract=contract,
            method=method,
            business_time=None,
            body=body,
        ).to_bytes()
        message = transaction_sign_bytes(payload)
        keys = [
            load_private_key(self.network.layout.account(*each), self.provider) for each in signers
        ]
        signatures = tuple((each.public_key, self.provider.sign(each, message)) for each in keys)
        return self._execute(SignedTransaction(payload, signatures).encode())

    def _execute(self, encoded: bytes) -> Receipt:
        now_ms = max(time.time_ns() // 1_000_000, self.header.block_time_ms + 1)
        result = execute_block(
            self.state,
            genesis=self.genesis,
            catalogue=standard_catalogue(),
            parent=self.header,
            batch=Batch(now_ms, (encoded,)),
            transactions=[read_transaction(encoded)],
            verify=self.provider.verify,
        )
        for key, value in result.write_set.items():
            if value is None:
                self.state.values.pop(key, None)
            else:
                self.state.values[key] = value
        self.header = result.header(bytes(32))
        [receipt] = result.receipts
        return receipt

    # --- What the procedure asks of it ---

    async def submit_step(
        self, _: Network, method: str, body: Mapping[str, Json], signers: Signers | None = None
    ) -> TransactionResult:
        if method == self.cut_off_before:
            raise KeyboardInterrupt
        receipt = self.call("chains", method, body, signers or SIGNERS.get(method, BOTH))
        self.steps.append(method)
        detail = parse_json_strict(receipt.detail or b"{}", depth_max=8, size_max=1 << 20)
        result: Any = SimpleNamespace(
            accepted=receipt.accepted, code=receipt.code, detail=detail, height=self.header.height
        )
        return accepted(result)

    async def read_registered(self, _: Network, chain: str) -> dict[str, Any] | None:
        standing = self.value(f"chains/standing/{chain}")
        if standing is None:
            return None
        key = f"chains/{registration_key(chain, standing['version'])}"
        return {"standing": standing, "registration": self.value(key)}

    async def ends_of_filed(self, *_: object) -> list[int]:
        return [0 if each is None else each["not_after_ms"] for each in self.filed().values()]

    def filed(self) -> dict[str, Any]:
        """The certificate of each account that seals, as it is kept."""
        found = {}
        for name in SEALERS:
            key = load_private_key(self.network.layout.account(MARKET, name), self.provider)
            found[name] = self.value(f"chains/{seal_key(MARKET, key.public_key)}")
        return found

    def status(self) -> str:
        standing = self.value(f"chains/standing/{MARKET}")
        return "NONE" if standing is None else str(standing["status"])


@dataclass
class World:
    """The network, its regulatory chain, and what the examination of its nodes comes to."""

    network: Network
    chain: RegulatoryChain
    said: list[str] = field(default_factory=list)
    changed: dict[Check, tuple[Result, str]] = field(default_factory=dict)

    async def register(self) -> None:
        await register_market(self.network, self.said.append)

    async def examined(
        self, _: Network, __: GmProvider, subject: Subject, dialled: Sequence[Dialled]
    ) -> Examination:
        """Of a chain that has not reported yet, unless `changed` says otherwise."""
        lacking = (Result.NOT_CHECKED, "CONFORMANCE_NO_SAMPLE")
        what = {Check.OBJECTS: lacking, Check.OBJECT: lacking} | self.changed
        findings = [
            Finding(check, each.url, *what.get(check, (Result.PASSED, "")))
            for each in dialled
            for check in OF_A_NODE
        ]
        findings += [Finding(check, "", Result.PASSED) for check in BETWEEN]
        nobody = Unreachable("CONFORMANCE_UNANSWERED", {})
        endpoints = tuple(Endpoint(x.url, x.replica, "GM-TLS", nobody) for x in dialled)
        heights = {each.url: 4 for each in dialled}
        return Examination(subject, endpoints, tuple(findings), heights, 4)


async def nothing(*_: object) -> str:
    return ""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network's folder with keys, certificates and genesis files, to be copied."""
    provider, path = open_provider(), tmp_path_factory.mktemp("registering") / "network"
    layout = create_network(path).layout
    ensure_certificates(layout, provider, print)
    ensure_genesis(layout, provider, print)
    return path


@pytest.fixture
def world(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    provider = open_provider()
    shutil.copytree(folder, tmp_path / "network")
    network = load_network(tmp_path / "network")
    made = World(network, RegulatoryChain(network, provider))
    monkeypatch.setenv("GUQIAO_LANG", "en")
    for name, stand_in in {
        "submit_step": made.chain.submit_step,
        "read_registered": made.chain.read_registered,
        "_ends_of_filed": made.chain.ends_of_filed,
        "examined": made.examined,
        "_begin_chain": nothing,
        "publish_list": nothing,
    }.items():
        monkeypatch.setattr(registering, name, stand_in)
    return made


async def test_every_step_is_taken_by_whose_it_is_and_the_registration_is_in_force(
    world: World,
) -> None:
    await world.register()
    chain = world.chain
    assert [each for each in chain.steps if each != "file_certificate"] == [*STEPS]
    assert (chain.status(), chain.steps.count("file_certificate")) == ("ACTIVE", len(SEALERS))
    record = chain.value(f"chains/{registration_key(MARKET, 1)}")
    assert record["countersigned"]["by"] == account(MARKET, "province").did
    approved = record["approved"]
    by = tuple(account(CSRC, each).did for each in ("market", "tech"))
    assert (approved["by"], approved["checker"]) == by
    assert len(record["report"]["probes"]) == REPLICAS_PROBED
    assert chain.value(f"light_client/trust/{MARKET}") is not None
    assert all(chain.filed().values())
    assert "26 checks of 2 nodes" in world.said[1]
    assert "4 left out for want of a data object" in world.said[1]


async def test_the_chain_of_a_new_network_knows_no_other_way(world: World) -> None:
    body = remote_chain(world.network.layout, MARKET)
    for signers in (((CSRC, "admin"),), ((CSRC, "admin"), (CSRC, "tech"))):
        receipt = world.chain.call("light_client", "register_chain", body, signers)
        assert receipt.code == "CHAIN_REGISTRATION_REQUIRED"
    assert world.chain.value(f"light_client/trust/{MARKET}") is None


async def test_what_was_cut_off_before_a_step_is_taken_up_there(world: World) -> None:
    for step in STEPS:
        world.chain.steps.clear()
        world.chain.cut_off_before = step
        with pytest.raises(KeyboardInterrupt):
            await world.register()
        earlier = STEPS[: STEPS.index(step)]
        taken = [each for each in world.chain.steps if each != "file_certificate"]
        assert taken == [*(earlier if step in STEPS[:4] else earlier[-1:])]
    world.chain.cut_off_before = ""
    world.chain.steps.clear()
    await world.register()
    assert (world.chain.steps, world.chain.status()) == (["approve"], "ACTIVE")
    assert all(world.chain.filed().values())


async def test_nothing_else_is_left_out_of_the_test_and_a_failure_ends_it(world: World) -> None:
    for check, result, code in (
        (Check.LINK, Result.FAILED, "CONFORMANCE_LINK_FAILED"),
        (Check.OBJECTS, Result.FAILED, "CONFORMANCE_ANSWER_WRONG"),
        (Check.OBJECT, Result.NOT_CHECKED, "CONFORMANCE_DEPENDS"),
        (Check.TRANSACTION, Result.NOT_CHECKED, "CONFORMANCE_NO_SAMPLE"),
        (Check.STATUS, Result.NOT_CHECKED, "CONFORMANCE_DEPENDS"),
    ):
        world.changed = {check: (result, code)}
        with pytest.raises(CliError) as caught:
            await world.register()
        assert (caught.value.code, world.chain.status()) == ("CONFORMANCE_FAILED", "CONFORMANCE")
    world.changed = {}
    await world.register()
    assert world.chain.status() == "ACTIVE"


async def test_a_refused_step_is_told_with_its_code(world: World) -> None:
    (world.network.layout.authority(MARKET) / "ca.pem").write_text("no certificate")
    with pytest.raises(CliError) as caught:
        await world.register()
    assert caught.value.code == "CERTIFICATE_MALFORMED"
    assert world.chain.status() == "NONE"


async def test_a_later_start_files_only_what_ends_soon(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.register()
    world.chain.steps.clear()
    await world.register()
    assert world.chain.steps == []
    before = {name: each["serial"] for name, each in world.chain.filed().items()}
    monkeypatch.setattr(registering, "RENEWED_BEFORE", timedelta(days=400))
    await world.register()
    assert world.chain.steps == ["file_certificate"] * len(SEALERS)
    after = {name: each["serial"] for name, each in world.chain.filed().items()}
    assert not before.items() & after.items()


async def test_a_list_that_is_refused_at_a_later_start_is_told(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.register()

    async def refused(*_: object) -> str:
        return "CRL_STALE"

    monkeypatch.setattr(registering, "publish_list", refused)
    with pytest.raises(CliError) as caught:
        await world.register()
    assert caught.value.code == "CRL_STALE"


async def test_a_chain_that_was_made_known_otherwise_is_left_to_its_operator(
    world: World,
) -> None:
    (world.network.layout.folder / "run").mkdir()
    (world.network.layout.folder / "run" / "chain-registered").touch()
    await world.register()
    assert (world.chain.steps, world.chain.status()) == ([], "NONE")
