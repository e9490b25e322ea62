"""`guqiao chain register`, `approve` and the like: the register of chains on the regulatory chain.

Each step is signed by whose it is: two persons of the operator, the regulator of the province, the
technical side or both sides of the CSRC. What is shown was proven by the chain's own state, and
whoever reviews names the digest of what was shown.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from guqiao_sdk.client.transactions import TransactionResult
from guqiao_sdk.gm.keyfile import load_private_key
from guqiao_sdk.gm.provider import open_provider
from guqiao_sdk.gm.sm3 import sm3
from guqiao_sdk.personal_data import NEWEST
from guqiao_sdk.proof.certificates import PEM_LENGTH_MAX
from guqiao_sdk.proof.json_values import DEPTH_BOUND, Json, JsonError, parse_json_strict
from guqiao_sdk.proof.possession import possession_sign_bytes
from guqiaoctl.commands.calls import guarded
from guqiaoctl.commands.chain_calls import accepted, failure, proven_record
from guqiaoctl.commands.governance import READERS
from guqiaoctl.failures import EXIT_USAGE, CliError
from guqiaoctl.input_files import read_input
from guqiaoctl.network.chain_draft import draft_registration
from guqiaoctl.network.clients import open_chain, open_identity
from guqiaoctl.network.layout import Network, load_network
from guqiaoctl.network.parties import CSRC, MARKET
from guqiaoctl.output import Progress, choose, print_json, print_table, say, shown
from guqiaoctl.result_files import whole_file
from services.consensus.domain.contracts.chain_registry.form import (
    BYTES_MAX,
    check_clear,
    read_registration,
)
from services.consensus.domain.contracts.chain_registry.standing import (
    CHAINS,
    registration_key,
    standing_key,
)
from services.consensus.domain.contracts.host import Refusal
from services.consensus.domain.contracts.light_client_registration import LIGHT_CLIENT, client_key

Signers = tuple[tuple[str, str], ...]
"""Domain and account of the maker, and of the checker where there is one."""
OPERATOR: Final[Signers] = ((MARKET, "maker"), (MARKET, "checker"))
PROVINCE: Final[Signers] = ((MARKET, "province"),)
TECH: Final[Signers] = ((CSRC, "tech"),)
ON_DUTY: Final[Signers] = ((CSRC, "duty"),)
"""Another person of the technical side than the one who approves."""
BOTH: Final[Signers] = ((CSRC, "market"), (CSRC, "tech"))
PROVINCE_WITH_CSRC: Final[Signers] = ((MARKET, "province"), (CSRC, "tech"))
SIGNERS: Final[Mapping[str, Signers]] = {
    "submit": OPERATOR,
    "resubmit": OPERATOR,
    "update": OPERATOR,
    "request_deregistration": OPERATOR,
    "countersign": PROVINCE,
    "consent_deregistration": PROVINCE,
    "start_test": TECH,
    "report": TECH,
    "accept_update": TECH,
    "file_certificate": OPERATOR,
    "publish_crl": TECH,
    "propose_client": ON_DUTY,
    "consent_client": PROVINCE,
}
"""Who takes a step; what is not listed takes both sides of the CSRC."""
EVIDENCE_BYTES_MAX: Final = 64 * 1024 * 1024
PROBES_BYTES_MAX: Final = 64 * 1024
SHOWN: Final = ("status", "version", "reason", "scope", "height")


# --- Steps ----------------------------------------------------------------------------------------


def state(data: Path, method: str, path: Path) -> None:
    """Submit, resubmit or update what a file says of a chain. It is judged here before it is sent:
    what may not stand on a chain is not even ordered.
    """
    value = json_file(path, BYTES_MAX)
    try:
        check_clear({"registration": value}, search=NEWEST)
        registration = read_registration(value)
    except Refusal as refusal:
        raise failure(refusal.code, **refusal.fields) from None
    body: dict[str, Json] = {"registration": value}
    if method == "update":
        body["chain_id"] = registration.chain_id
    take(load_network(data), method, body)
    print(f"{registration.chain_id}  {registration.digest}")


def review(data: Path, method: str, chain: str, *, digest: str | None) -> None:
    """Take a step that names what was reviewed: `digest`, else what is registered now."""
    network = load_network(data)
    named = digest or str(registered(network, chain)["registration"]["digest"])
    act_on(network, method, chain, {"digest": named})


def give_back(
    data: Path, chain: str, *, digest: str | None, reason: str, as_province: bool
) -> None:
    """Give a registration back, as the CSRC or as the province."""
    network = load_network(data)
    named = digest or str(registered(network, chain)["registration"]["digest"])
    signers = PROVINCE if as_province else BOTH
    act_on(network, "give_back", chain, {"digest": named, "reason": reason}, signers=signers)


def report(
    data: Path, method: str, chain: str, *, report_file: Path, probes: Path, is_failed: bool
) -> None:
    """Report a conformance test, of a registration or of an update that waits for one."""
    network = load_network(data)
    found = registered(network, chain)
    stated = found["pending"] if method == "accept_update" else found["registration"]
    if stated is None:
        raise failure("CHAIN_UPDATE_UNKNOWN", chain=chain)
    more: dict[str, Json] = {
        "digest": stated["digest"],
        "result": "FAIL" if is_failed else "PASS",
        "report": digest_of(report_file),
        "probes": json_file(probes, PROBES_BYTES_MAX),
    }
    act_on(network, method, chain, more)


def act(
    data: Path, method: str, chain: str, more: Mapping[str, Json], *, as_province: bool = False
) -> None:
    """Take a step that names a chain."""
    signers = PROVINCE_WITH_CSRC if as_province else None
    act_on(load_network(data), method, chain, more, signers=signers)


def digest_of(path: Path) -> str:
    """The digest of a file that stands for it on chain."""
    return sm3(read_input(path, EVIDENCE_BYTES_MAX)).hex()


def end(data: Path, method: str, chain: str) -> None:
    """Consent to what the operator asked for, or decide on it."""
    network = load_network(data)
    request = registered(network, chain)["deregistration"]
    if request is None:
        raise failure("DEREGISTRATION_INCOMPLETE", chain=chain, lacking="request of the operator")
    act_on(network, method, chain, {"handover": request["handover"]})


def act_on(
    network: Network,
    method: str,
    chain: str,
    more: Mapping[str, Json],
    *,
    signers: Signers | None = None,
) -> None:
    """Take a step and tell where it stands on chain."""
    result = take(network, method, {"chain_id": chain, **more}, signers)
    say(f"{chain}: {method} ({result.height})")


# --- Roots, keys, drafts --------------------------------------------------------------------------


def trust_root(data: Path, path: Path) -> None:
    """Let certificates of an authority count."""
    pem = read_input(path, PEM_LENGTH_MAX).decode("ascii", "replace")
    result = take(load_network(data), "trust_root", {"certificate": pem})
    say(f"{path}: trust_root ({result.height})")


def distrust_root(data: Path, fingerprint: str) -> None:
    """Let them count no more."""
    result = take(load_network(data), "distrust_root", {"fingerprint": fingerprint})
    say(f"{fingerprint}: distrust_root ({result.height})")


def prove_key(chain: str, node: str, key: Path) -> None:
    """Print what a registration says of a consensus key: the key, and the proof of holding it."""
    provider = open_provider()
    private = guarded(load_private_key, key, provider)
    message = possession_sign_bytes(chain, node, private.public_key)
    pop = provider.sign(private, message).hex()
    print_json({"node_id": node, "sm2_pubkey": private.public_key.hex(), "pop": pop})


def draft(data: Path, path: Path) -> None:
    """Write the registration of the market's chain of a network on this machine."""
    value = draft_registration(load_network(data), open_provider())
    with whole_file(path) as write:
        write(value)
    say(
        choose(
            f"{path} written: look through it before you submit it", f"已写入 {path}，提交前请核对"
        )
    )


# --- Show -----------------------------------------------------------------------------------------


def show(data: Path, chain: str, *, as_json: bool) -> None:
    """Show where a chain's registration is in its life, and what it says, proven."""
    found = registered(load_network(data), chain)
    if as_json:
        print_json(found)
        return
    standing, record = found["standing"], found["registration"]
    print(f"chain_id: {chain}")
    for name in SHOWN:
        if standing.get(name) is not None:
            print(f"{name}: {shown(standing[name])}")
    value = record["registration"]
    print(f"digest: {record['digest']}")
    print(f"operator: {shown(value['operator']['name'])} {value['operator']['uscc']}")
    if found["client"] is not None:
        fork = found["client"].get("fork_height")
        told = "" if fork is None else choose(f", fork at height {fork}", f"，分叉高度 {fork}")
        print(f"client: {found['client']['status']}{told}")
    for name in ("stale", "pending", "replacement"):
        if found[name] is not None:
            place = found[name].get("due") or found[name].get("digest") or "-"
            print(f"{name}: {place}")
    print()
    print_table(
        (choose("NODE", "节点"), choose("ENTITY", "单位"), "USCC", choose("KEY", "公钥")),
        [
            (each["node_id"], each["entity"]["name"], each["entity"]["uscc"],
             each["sm2_pubkey"][:18])
            for each in value["validators"]
        ],
    )  # fmt: skip
    print()
    print_table(
        ("RPC", choose("HOST", "主机")),
        [(each["url"], each["host_id"]) for each in value["rpc_endpoints"]],
    )


def registered(network: Network, chain: str) -> dict[str, Any]:
    """Standing and registration of a chain and what waits, proven; raises CHAIN_UNKNOWN."""
    with Progress(choose("asking the chain", "查询链")):
        found = guarded(asyncio.run, read_registered(network, chain))
    if found is None:
        raise failure("CHAIN_UNKNOWN", chain=chain)
    return found


async def read_registered(network: Network, chain: str) -> dict[str, Any] | None:
    """The same; None where nobody registered it."""
    identity = open_identity(network, open_provider(), CSRC, READERS[CSRC])
    async with open_chain(network, open_provider(), CSRC, identity) as client:
        height = (await client.latest()).height

        async def record(key: str) -> dict[str, Any] | None:
            return await proven_record(client, f"{CHAINS}/{key}", height)

        standing = await record(standing_key(chain))
        if standing is None:
            return None
        return {
            "standing": standing,
            "registration": await record(registration_key(chain, standing["version"])),
            **{
                name: await record(f"{name}/{chain}")
                for name in ("pending", "stale", "suspension", "deregistration", "replacement")
            },
            "client": await proven_record(client, f"{LIGHT_CLIENT}/{client_key(chain)}", height),
        }


# --- What they share ------------------------------------------------------------------------------


def take(
    network: Network, method: str, body: Mapping[str, Json], signers: Signers | None = None
) -> TransactionResult:
    """Take a step of the register of chains, signed by whose it is."""
    with Progress(choose("waiting for the chain", "等待链的结果")):
        return guarded(asyncio.run, submit_step(network, method, body, signers))


async def submit_step(
    network: Network, method: str, body: Mapping[str, Json], signers: Signers | None = None
) -> TransactionResult:
    """The same, in a loop that runs."""
    provider = open_provider()
    maker, *others = [
        open_identity(network, provider, *each) for each in signers or SIGNERS.get(method, BOTH)
    ]
    async with open_chain(network, provider, CSRC, maker) as client:
        checker = others[0] if others else None
        return accepted(await client.call(CHAINS, method, body, checker=checker))


def json_file(path: Path, bytes_max: int) -> Json:
    """What a file of strict JSON holds; raises `CliError`."""
    try:
        return parse_json_strict(
            read_input(path, bytes_max), depth_max=DEPTH_BOUND, size_max=bytes_max
        )
    except JsonError as error:
        raise CliError(
            "REQUEST_MALFORMED",
            f"{path} is no strict JSON: {error}",
            f"{path} 不是规范的 JSON：{error}",
            "correct the file",
            "请更正该文件",
            exit_code=EXIT_USAGE,
        ) from None
