"""Every byte of a real bundle, changed once: the command refuses each by exit code 7, by name."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import pytest

from guqiao_sdk.gm.provider import open_provider
from guqiao_sdk.proof.bundle import END_MAGIC, START_MAGIC
from guqiao_sdk.proof.framing import CHECKSUM_BYTES
from guqiao_sdk.proof.trust import parse_trust
from guqiaoctl.commands import verifying
from guqiaoctl.commands.transactions import fetch_bundle
from guqiaoctl.failures import CliError
from guqiaoctl.network.clients import open_chain, open_identity
from guqiaoctl.network.layout import Network
from guqiaoctl.network.parties import MARKET
from tests.end_to_end.market.conftest import Market

pytestmark = pytest.mark.end_to_end

FRAMING_CHANGES = (0x01, 0x02, 0x04, 0x08, 0x10, 0x20, 0x40, 0x80, 0xFF)
LOOKED_AT = 20
"""Operations among which the smallest bundle is taken."""
TAIL_BYTES = CHECKSUM_BYTES + len(END_MAGIC)


@pytest.fixture
def small_bundle(market: Market) -> bytes:
    """The smallest bundle of some operations: how much else was anchored with one is chance."""
    return asyncio.run(find_smallest(market.machine.network))


async def find_smallest(network: Network) -> bytes:
    found: list[bytes] = []
    provider = open_provider()
    maker = open_identity(network, provider, MARKET, "maker")
    async with open_chain(network, provider, MARKET, maker) as client:
        for height in range(1, (await client.latest()).height + 1):
            block = await client.get_block(height)
            for transaction, receipt in zip(block.transactions, block.receipts, strict=True):
                if any(event.topic == "packet.sent" for event in receipt.events):
                    bundle = await fetch_bundle(network, transaction.id())
                    found.append(bundle.encode())
            if len(found) >= LOOKED_AT:
                break
    return min(found, key=len)


@pytest.fixture
def one_provider(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command's own provider, opened once; a signature that was judged is not judged again."""
    provider = open_provider()
    remembered = SimpleNamespace(verify=cache(provider.verify))
    monkeypatch.setattr(verifying, "open_provider", lambda: remembered)
    monkeypatch.setattr(verifying, "parse_trust", cache(parse_trust))


def framing(data: bytes) -> Iterator[int]:
    """The places that hold no section's content: magics, count, names, lengths, checksum."""
    at = len(START_MAGIC) + 4
    yield from range(at)
    while at < len(data) - TAIL_BYTES:
        content = at + 4 + length_at(data, at)
        yield from range(at, content + 4)
        at = content + 4 + length_at(data, content)
    yield from range(at, len(data))


def length_at(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 4], "big")


def changes(data: bytes) -> Iterator[tuple[int, int]]:
    """(place, bits to turn over): each place once, in framing with several patterns."""
    frame = set(framing(data))
    for place in range(len(data)):
        yield from ((place, bits) for bits in FRAMING_CHANGES if place in frame)
        if place not in frame:
            yield place, 1 << place % 8


@pytest.mark.req("G2-19-3")
@pytest.mark.usefixtures("one_provider")
def test_a_bundle_with_any_byte_changed_is_refused_and_what_failed_is_named(
    market: Market, small_bundle: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle, trust = tmp_path / "whole.gqb", market.machine.network.layout.trust
    bundle.write_bytes(small_bundle)
    verifying.verify(bundle, trust, as_json=True)
    assert '"accepted"' in capsys.readouterr().out
    original, altered = bundle.read_bytes(), tmp_path / "altered.gqb"
    assert b"anchor_receipt" in original
    assert bytes([original[place] for place in framing(original)]).startswith(START_MAGIC)
    places: set[int] = set()
    for place, bits in changes(original):
        changed = bytearray(original)
        changed[place] ^= bits
        altered.write_bytes(changed)
        with pytest.raises(CliError) as refused:
            verifying.verify(altered, trust, as_json=True)
        assert refused.value.exit_code == 7, (place, bits, str(refused.value))
        said = json.loads(capsys.readouterr().out)
        assert said["verified"] is False, (place, bits)
        assert [each["holds"] for each in said["checks"]][-1:] == [False], (place, bits)
        text, _ = refused.value.texts["en"]
        assert re.match(r"[^:]+: .+", text, re.DOTALL), (place, bits, text)
        places.add(place)
    assert len(places) == len(original)
