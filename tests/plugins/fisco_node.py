"""A stand-in for a FISCO BCOS 3 node: HTTP and JSON-RPC around a `FiscoChain`, on a loopback port.

It answers as nodes do, unless a test tells it other manners.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from tests.plugins.fisco_chain import FiscoChain, Row

UNKNOWN = {"code": 3008, "message": "ledger not found"}
"""What a node says of a transaction that it does not have."""


@dataclass
class FiscoNode:
    """Serves one chain; `raw` writes a whole answer of its own, `spoil` changes a result."""

    chain: FiscoChain
    tls: ssl.SSLContext | None = None
    raw: Callable[[bytes], bytes | None] = lambda body: None
    spoil: Callable[[str, Any], Any] = lambda method, result: result
    silent_seconds: float = 0.0
    drop: int = 0
    """So many questions are answered by closing the connection."""

    asked: Counter[str] = field(default_factory=Counter)
    port: int = 0
    _server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, ssl=self.tls)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            lengths = [line for line in head.split(b"\r\n") if line.startswith(b"Content-Length:")]
            question = json.loads(await reader.readexactly(int(lengths[0].split(b":")[1])))
            self.asked[question["method"]] += 1
            if self.drop:
                self.drop -= 1
            else:
                await asyncio.sleep(self.silent_seconds)
                writer.write(self._answer(question))
                await writer.drain()
        writer.close()

    def _answer(self, question: Row) -> bytes:
        result, error = self._result(question["method"], question["params"]), None
        if result is UNKNOWN:
            result, error = None, UNKNOWN
        answer: Row = {"jsonrpc": "2.0", "id": question["id"]}
        answer |= {"error": error} if error else {"result": result}
        body = json.dumps(answer).encode()
        raw = self.raw(body)
        return http_answer(body) if raw is None else raw

    def _result(self, method: str, parameters: list[Any]) -> Any:
        return self.spoil(method, self._plain(method, parameters[2:]))

    def _plain(self, method: str, parameters: list[Any]) -> Any:
        blocks = self.chain.blocks
        match method, parameters:
            case "getBlockNumber", []:
                return len(blocks)
            case "getBlockByNumber", [int(height), bool(only_header), _]:
                if height > len(blocks):
                    return None
                row = self.chain.block(height)
                return {k: v for k, v in row.items() if k != "transactions" or not only_header}
            case "getTransaction", [str(name), True]:
                return self.chain.transactions.get(name, UNKNOWN)
            case "getTransactionReceipt", [str(name), True]:
                return self.chain.receipts.get(name, UNKNOWN)
            case "getConsensusStatus", []:
                return json.dumps(
                    {
                        "blockNumber": len(blocks),
                        "hash": self.chain.block(len(blocks))["hash"][2:],
                        "consensusNodesNum": len(self.chain.names),
                        "view": 3,
                    }
                )
            case "getSyncStatus", []:
                return json.dumps({"isSyncing": False, "blockNumber": len(blocks)}) + "\n"
        return UNKNOWN


def http_answer(body: bytes, status: str = "200 OK") -> bytes:
    return (
        f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n".encode()
        + body
    )


def in_chunks(body: bytes, size: int = 7) -> bytes:
    """The answer with a body in chunks."""
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    return head + b"".join(b"%x\r\n%s\r\n" % (len(each), each) for each in [*pieces, b""])
