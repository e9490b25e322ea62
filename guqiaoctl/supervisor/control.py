"""How `guqiao dev` talks to the supervisor: one JSON line each way, on loopback, with a token.

The address and the token are in `run/control.json` of the data folder, readable by its owner only.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import os
import secrets
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

LINE_BYTES_MAX: Final = 1024 * 1024
ANSWER_SECONDS_MAX: Final = 60.0
"""Of a process that is started or stopped."""

QUICK_ANSWER_SECONDS_MAX: Final = 10.0
"""Of everything else."""

_SLOW: Final = frozenset({"start", "stop", "kill"})

Handler = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]


class NotRunningError(Exception):
    """No supervisor answers for this data folder."""


class NoAnswerError(Exception):
    """The supervisor took the question and says nothing: it is stopped, or hangs."""


class ControlServer:
    """Answers commands until closed."""

    def __init__(self, run_folder: Path, handler: Handler) -> None:
        self._file = run_folder / "control.json"
        self._handler = handler
        self._token = secrets.token_hex(16)
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        """Listen on a free port and write the file that tells where."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=LINE_BYTES_MAX)
        port = self._server.sockets[0].getsockname()[1]
        self._file.unlink(missing_ok=True)
        descriptor = os.open(self._file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump({"port": port, "token": self._token, "pid": os.getpid()}, file)

    async def close(self) -> None:
        """Stop listening and take the file away."""
        self._file.unlink(missing_ok=True)
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(ANSWER_SECONDS_MAX):
                request = json.loads(await reader.readline())
                token = request.pop("token", "") if isinstance(request, dict) else ""
                if not hmac.compare_digest(str(token), self._token):
                    answer: dict[str, Any] = {"error": "the token is wrong"}
                else:
                    answer = await self._handler(request)
                writer.write(json.dumps(answer).encode() + b"\n")
                await writer.drain()
        except (ValueError, OSError, TimeoutError):
            pass  # The caller went away or spoke nonsense; nothing was promised to it.
        finally:
            writer.close()


async def ask(run_folder: Path, request: dict[str, Any]) -> dict[str, Any]:
    """Send one command and return the answer; raises `NotRunningError` and `NoAnswerError`."""
    try:
        address = json.loads((run_folder / "control.json").read_text())
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", address["port"], limit=LINE_BYTES_MAX
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise NotRunningError(str(run_folder.parent)) from error
    is_slow = request.get("command") in _SLOW
    try:
        async with asyncio.timeout(ANSWER_SECONDS_MAX if is_slow else QUICK_ANSWER_SECONDS_MAX):
            writer.write(json.dumps(request | {"token": address["token"]}).encode() + b"\n")
            await writer.drain()
            answer = json.loads(await reader.readline())
        if not isinstance(answer, dict):
            raise NotRunningError(str(run_folder.parent))
    except TimeoutError as error:
        raise NoAnswerError(str(address.get("pid", "?"))) from error
    except (OSError, ValueError) as error:  # Another program has the port of one that was killed.
        raise NotRunningError(str(run_folder.parent)) from error
    else:
        return answer
    finally:
        writer.close()
