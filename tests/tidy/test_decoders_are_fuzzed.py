"""No decoder is forgotten by the fuzzing: each is reached by a good sample of one of its targets.

A decoder is a function in `services/` or `guqiao_sdk/` that is named so (`decode…`, `parse…`,
`read…`, `load…`, `judge…`, with or without underscores) and takes bytes, text, JSON, a file or a
reader, or that opens bytes itself: JSON, protocol buffers, canonical fields, structs, hex.
Whether a target reaches it is seen while the target decodes, so a list cannot say what is not so.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from types import CodeType, FrameType
from typing import Any, Final

from tests.fuzz.targets import targets
from tests.tidy.source import ROOT, Source, parse, sources

FOLDERS: Final = ("services", "guqiao_sdk")
NAMES: Final = ("decode", "decoded", "parse", "parsed", "read", "load", "judge")
TAKEN: Final = ("bytes", "str", "Json", "Members", "Mapping", "Reader", "Path", "Stream", "mmap")
OPENERS: Final = frozenset(
    {"loads", "FromString", "ParseFromString", "parse_json_strict", "fromhex", "unpack", "Reader"}
    | {"load_pem_x509_certificate", "load_pem_x509_crl"}
)

OWN_STATE: Final = "what the chain's own code wrote, behind a state root or a checksum"
PROVEN: Final = "bodies of events that the chain's own contracts wrote, of certified blocks"
OWN_ROWS: Final = "rows that this service itself wrote into its database"
SETTINGS: Final = "what an operator configured or this code brings along; it ends the start"
OTHER_TESTS: Final = "a market's files, requests: spoiled piece by piece in tests of their own"
WALKS: Final = "opens files or asks a judge; the bytes themselves go to decoders with targets"
PROVIDER: Final = "numbers of fixed length, checked before; tests/unit/gm holds the spoiled ones"

EXCEPTIONS: Final[Mapping[str, tuple[str, ...]]] = {
    OWN_STATE: (
        "guqiao_sdk.client.observed_chains:_recorded",
        "services.registry.recount:_recorded",
        "services.consensus.domain.contracts.identity_record:_key_from_state",
        "services.consensus.domain.contracts.deployed:_tiers",
        "services.consensus.domain.contracts.deployed:_life_cycle",
        "services.consensus.domain.contracts.light_client_registration:followed_set",
        "services.consensus.domain.contracts.observed_client.records:_sealers_of",
        "services.consensus.domain.contracts.observed_client.records:trusted_at",
        "services.consensus.domain.contracts.replica_sets:restart_of_epoch",
        "services.consensus.domain.contracts.replica_sets:set_of_epoch",
        "services.consensus.domain.contracts.replica_sets:written_restarts",
        "services.consensus.domain.contracts.replica_sets:written_sets",
        "services.consensus.domain.ledger.authorisation:Identities.find",
        "services.consensus.domain.ledger.execution:_Block._answer_again",
        "services.consensus.domain.ledger.execution:_Block._execute",
        "services.consensus.domain.ledger.execution:_binding",
        "services.consensus.domain.ledger.host:LedgerHost.entries",
        "services.consensus.objects:_kept_object",
        "services.consensus.restart:_speaks_for",
        "services.consensus.store.core_log:_content_of",
        "services.consensus.store.core_log:take_compaction",
        "services.consensus.store.index:Index._page_reader.<locals>.read",
        "services.consensus.store.index:Index._prune",
        "services.gateway.admission:registered",
        "services.gateway.freshness:client_held",
        "services.gateway.handlers:followed_epoch",
    ),
    PROVEN: (
        "guqiao_sdk.archive.folder:_packets",
        "guqiao_sdk.register_papers.history:History.apply",
        "services.consensus.store.index:_object_id",
        "services.enablement.consumers:apply_block",
        "services.gateway.consumers:apply_block",
        "services.registry.consumers:apply_block",
        "services.reporting.consumers:_apply_receipt",
        "services.reporting.domain.records:received_object",
    ),
    OWN_ROWS: (
        "services.chassis.bus.positions:_parked",
        "services.chassis.bus.postgres:_record",
        "services.chassis.outbox:relay_batch",
        "services.gateway.api:GatewayServicer.GetPacket",
    ),
    SETTINGS: (
        "guqiao_sdk.client.endpoints:_parse",
        "guqiao_sdk.rules:catalogue",
        "guqiao_sdk.working_days:published",
        "services.chassis.gm_tunnel.__main__:main",
        "services.chassis.postgres.migrations:load_migrations",
        "services.chassis.settings:load_settings",
        "services.registry.app:serve",
    ),
    OTHER_TESTS: (
        "guqiao_sdk.market_reader:read_dataset",
        "guqiao_sdk.market_text:_parts",
        "guqiao_sdk.market_text:read_lines",
        "guqiao_sdk.object_store.body_keys:BodyKeys._read",
        "guqiao_sdk.object_store.folder:read_file",
        "services.chassis.grpc_server.wrapping:_Wrapped._parse",
        "services.consensus.domain.contracts.light_client:_judge_known_height",
    ),
    WALKS: (
        "services.gateway.observed.observer:_row",
        "guqiao_sdk.archive.folder:_read",
        "guqiao_sdk.archive.folder:_take_block",
        "guqiao_sdk.archive.folder:read_manifests",
        "services.chassis.gm_tls.identity:_read_public",
        "services.consensus.domain.contracts.chain_registry.judging:_read",
        "services.consensus.domain.contracts.chain_registry.judging:judge_registration",
        "services.consensus.domain.contracts.chain_registry.judging:read_root",
        "services.consensus.domain.contracts.chain_registry.sealing:_judge_seal",
        "services.consensus.domain.contracts.chain_registry.sealing:_parsed",
        "services.consensus.domain.contracts.chain_registry.sealing:_read",
        "services.consensus.domain.contracts.chain_registry.sealing:_read_list",
        "services.consensus.domain.ledger.state_parts:Prefix.place",
        "services.consensus.domain.ledger.state_parts:read_part",
        "services.consensus.evidence:EvidenceFolder._read",
        "services.consensus.transaction_intake:TransactionIntake._judge_stateful",
        "services.consensus.proposal_intake:ProposalIntake._judge",
        "services.consensus.proposal_intake:ProposalIntake._read",
        "services.consensus.signing:Admission.judge",
        "services.consensus.signing:Admission.judge_batch",
        "services.consensus.store.archive:_last_header",
        "services.consensus.store.folder:read_identity",
        "services.consensus.store.promise:_read",
        "services.consensus.store.recovery:_header_of",
        "services.consensus.view_change_intake:_read",
        "services.gateway.handlers:Handlers._with_true_anchor",
    ),
    PROVIDER: (
        "guqiao_sdk.gm.gmssl_backend:GmsslProvider.load_private_key",
        "guqiao_sdk.gm.gmssl_backend:GmsslProvider.sign",
        "guqiao_sdk.gm.gmssl_backend:_multiplied",
        "guqiao_sdk.signing:request_sign_bytes",
        "guqiao_sdk.signing:stream_item_sign_bytes",
    ),
}
"""Why a decoder has no target, and which ones."""


def decoders(source: Source) -> Iterator[str]:
    """The qualified names of a file's decoders."""
    yield from (f"{source.module}:{name}" for name in _decoders(source.tree, ""))


def _decoders(node: ast.AST, within: str) -> Iterator[str]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef):
            yield from _decoders(child, f"{within}{child.name}.")
        elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            if not _is_declared(child) and (_is_named_so(child) or _opens(child)):
                yield within + child.name
            yield from _decoders(child, f"{within}{child.name}.<locals>.")
        else:
            yield from _decoders(child, within)


def _is_declared(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether it has no body: a method of a `Protocol`."""
    last = function.body[-1]
    return isinstance(last, ast.Expr) and isinstance(last.value, ast.Constant)


def _is_named_so(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    if function.name.strip("_").partition("_")[0] not in NAMES:
        return False
    arguments = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    taken = [ast.unparse(each.annotation) for each in arguments if each.annotation is not None]
    return any(word in each for each in taken for word in TAKEN)


def _opens(function: ast.AST) -> bool:
    """Whether it calls an opener itself, not in a function within it."""
    for child in ast.iter_child_nodes(function):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        if isinstance(child, ast.Call):
            called = child.func
            name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
            if name in OPENERS:
                return True
        if _opens(child):
            return True
    return False


def reached(decode: Callable[[bytes], Any], samples: Iterable[bytes]) -> set[str]:
    """The functions of ours that run while these samples are decoded."""
    codes: set[CodeType] = set()

    def note(frame: FrameType, event: str, argument: object) -> None:
        if event == "call":
            codes.add(frame.f_code)

    for sample in samples:
        sys.setprofile(note)
        try:
            decode(sample)
        finally:
            sys.setprofile(None)
    return {name for code in codes if (name := _name_of(code)) is not None}


def _name_of(code: CodeType) -> str | None:
    path = code.co_filename
    if not path.startswith(f"{ROOT}/"):
        return None
    module = path.removeprefix(f"{ROOT}/").removesuffix(".py").replace("/", ".")
    return f"{module.removesuffix('.__init__')}:{code.co_qualname}"


@cache
def fuzzed() -> frozenset[str]:
    """What the samples of all targets reach."""
    return frozenset(
        name for target in targets() for name in reached(target.decode, target.samples)
    )


def found() -> list[str]:
    return [name for source in sources(*FOLDERS) for name in decoders(source)]


def excepted() -> list[str]:
    return [name for names in EXCEPTIONS.values() for name in names]


def test_every_decoder_is_fuzzed_or_excepted_for_a_reason() -> None:
    forgotten = set(found()) - fuzzed() - set(excepted())
    assert sorted(forgotten) == [], "samples of these are missing in tests/fuzz"


def test_no_exception_outlives_its_decoder_or_its_reason() -> None:
    assert len(excepted()) == len(set(excepted()))
    assert sorted(set(excepted()) - set(found())) == []
    assert not [name for name in EXCEPTIONS if not EXCEPTIONS[name]]
    assert sorted(set(excepted()) & fuzzed()) == []


FORGOTTEN: Final = """
class Piece:
    @staticmethod
    def decode(data: bytes) -> Piece: ...

    def decoded_by_name(self) -> None:
        return None

def _read_part(reader: Reader) -> int:
    return reader.u8()

def opens(value):
    return [json.loads(each) for each in value]

def calls_within():
    def inner(data):
        return Answer.FromString(data)
    return inner

def reads_nothing(data: bytes) -> bytes:
    return data
"""


def test_a_decoder_is_found_by_its_name_and_by_what_it_opens() -> None:
    text = FORGOTTEN.replace("Piece: ...", "Piece:\n        return Piece()")
    assert list(decoders(parse("services/new.py", text))) == [
        "services.new:Piece.decode",
        "services.new:_read_part",
        "services.new:opens",
        "services.new:calls_within.<locals>.inner",
    ]


def test_a_decoder_without_a_target_is_noticed() -> None:
    name = "services.consensus.store.state_intake:decode_entries"
    kept = [each for each in targets() if each.name != "entries of a state"]
    without = {one for each in kept for one in reached(each.decode, each.samples)}
    assert len(kept) == len(targets()) - 1
    assert set(found()) - without - set(excepted()) == {name}
