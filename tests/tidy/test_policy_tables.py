"""Every RPC of the protos has its policy row in the service that serves it, with known roles."""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping

import pytest

from services.chassis.grpc_server import ANY_ROLE, Policy, StreamItems
from tests.tidy.source import ROOT, sources, tracked_files

_PACKAGE = re.compile(r"^package ([\w.]+);", re.MULTILINE)
_SERVICE = re.compile(r"^service (\w+) \{(.*?)^\}", re.MULTILINE | re.DOTALL)
_RPC = re.compile(r"^\s*rpc (\w+)\s*\(\s*(stream )?", re.MULTILINE)


def rpcs() -> dict[str, bool]:
    """Every RPC's full name, and whether it takes a stream."""
    found: dict[str, bool] = {}
    for path in tracked_files():
        if path.startswith("protos/guqiao/") and path.endswith(".proto"):
            text = (ROOT / path).read_text(encoding="utf-8")
            package = _PACKAGE.search(text)
            assert package is not None, path
            for service, body in _SERVICE.findall(text):
                for method, streams in _RPC.findall(body):
                    found[f"/{package[1]}.{service}/{method}"] = bool(streams)
    return found


def tables() -> dict[str, Mapping[str, Policy]]:
    """The `POLICIES` of every `services/<service>/api.py`."""
    modules = [
        source.module
        for source in sources("services")
        if re.fullmatch(r"services/\w+/api(/__init__)?\.py", source.path)
    ]
    return {name: importlib.import_module(name).POLICIES for name in modules}


def test_the_protos_are_read() -> None:
    assert len(rpcs()) > 20
    assert any(rpcs().values())


@pytest.mark.req("G2-17-3")
def test_every_rpc_has_exactly_one_policy_row() -> None:
    rows = [method for table in tables().values() for method in table]
    assert sorted(rows) == sorted(rpcs())


def test_a_row_says_how_stream_items_are_signed_where_there_are_any() -> None:
    streaming = rpcs()
    for name, table in tables().items():
        for method, row in table.items():
            assert (row.stream_items is not None) == streaming[method], f"{name}: {method}"
            assert row.stream_items in (None, *StreamItems)


@pytest.mark.req("G2-17-3")
def test_rows_name_roles_that_exist() -> None:
    known = set(re.findall(r'"([a-z_]+)"', (ROOT / "guqiao_sdk/roles.py").read_text("utf-8")))
    assert len(known) > 5
    for name, table in tables().items():
        for method, row in table.items():
            assert row.roles == ANY_ROLE or row.roles <= known, f"{name}: {method}: {row.roles}"
