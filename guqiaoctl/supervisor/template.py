"""The template process: imports what all processes of a network need once, then forks for each.

Fourteen interpreters that each import the same libraries for a second are most of a start. The
template imports them before any thread, loop or channel exists, and forks for each line that it
reads; a fork has the command line, the session and the memory of its own that an ordinary
`python -m MODULE` has. When its standard input ends, the supervisor is gone or done: the template
ends what still runs, and itself.

Lines in: `{"module", "arguments", "log"}`. Lines out: `{"started": PID}` in the order of the
requests, and `{"ended": PID, "code": N}`, negative for a signal.
"""

from __future__ import annotations

import gc
import importlib
import io
import json
import os
import runpy
import selectors
import signal
import sys
import time
import traceback
from contextlib import suppress
from typing import Any, Final, NoReturn

import setproctitle

END_GRACE_SECONDS: Final = 8.0
_READ_BYTES: Final = 65_536


class Template:
    """Forks as it is told to; see the module."""

    def __init__(self) -> None:
        self._children: set[int] = set()
        self._buffer = b""
        self._woken, self._wake = os.pipe()

    def run(self) -> None:
        """Fork for each request until standard input ends, then end what still runs."""
        for end in (self._woken, self._wake):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(self._wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        with selectors.DefaultSelector() as selector:
            selector.register(sys.stdin.fileno(), selectors.EVENT_READ)
            selector.register(self._woken, selectors.EVENT_READ)
            while self._serve_once(selector):
                pass
        self._end_all()

    def _serve_once(self, selector: selectors.BaseSelector) -> bool:
        ready = {key.fd for key, _ in selector.select()}
        if self._woken in ready:
            os.read(self._woken, _READ_BYTES)
            self._reap()
        if sys.stdin.fileno() not in ready:
            return True
        read = os.read(sys.stdin.fileno(), _READ_BYTES)
        *lines, self._buffer = (self._buffer + read).split(b"\n")
        for line in lines:
            self._fork(json.loads(line))
        return bool(read)

    def _fork(self, request: dict[str, Any]) -> None:
        pid = os.fork()
        if pid == 0:
            os.close(self._woken)
            os.close(self._wake)
            _become(request["module"], request["arguments"], request["log"])
        self._children.add(pid)
        _tell({"started": pid})

    def _reap(self) -> None:
        for pid in sorted(self._children):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                self._children.discard(pid)
                _tell({"ended": pid, "code": os.waitstatus_to_exitcode(status)})

    def _end_all(self) -> None:
        self._signal_all(signal.SIGTERM)
        deadline = time.monotonic() + END_GRACE_SECONDS
        while self._children and time.monotonic() < deadline:
            time.sleep(0.02)
            self._reap()
        self._signal_all(signal.SIGKILL)
        while self._children:
            time.sleep(0.02)
            self._reap()

    def _signal_all(self, number: signal.Signals) -> None:
        for pid in self._children:  # Not reaped yet, so each is still ours.
            os.kill(pid, number)


def _tell(line: dict[str, int]) -> None:
    """Nobody may be left to hear it."""
    with suppress(BrokenPipeError):
        os.write(sys.stdout.fileno(), json.dumps(line).encode() + b"\n")


def _become(module: str, arguments: list[str], log_file: str) -> NoReturn:
    """In the fork: run the module as `python -m` would, its output appended to a file."""
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.setsid()
        setproctitle.setproctitle(" ".join([sys.executable, "-m", module, *arguments]))
        _redirect(log_file)
        sys.argv = [module, *arguments]
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as ended:
        code = _exit_code(ended)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _redirect(log_file: str) -> None:
    nothing = os.open(os.devnull, os.O_RDONLY)
    log = os.open(log_file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    for target, source in ((0, nothing), (1, log), (2, log)):
        os.dup2(source, target)
    os.close(nothing)
    os.close(log)
    for stream in (sys.stdout, sys.stderr):
        assert isinstance(stream, io.TextIOWrapper)
        stream.reconfigure(line_buffering=True)


def _exit_code(ended: SystemExit) -> int:
    if ended.code is None or isinstance(ended.code, int):
        return ended.code or 0
    print(ended.code, file=sys.stderr)
    return 1


def main(modules: list[str]) -> None:
    """Import the modules, then serve."""
    for module in modules:
        importlib.import_module(module)
    gc.freeze()  # What is shared stays shared: no collection writes to it.
    Template().run()


if __name__ == "__main__":
    main(sys.argv[2:])  # The first argument is the network's folder, for whoever lists processes.
