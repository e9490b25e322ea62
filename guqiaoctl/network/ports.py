"""Ports on loopback for a network of one machine."""

from __future__ import annotations

import secrets
import socket
from typing import Final

from guqiaoctl.failures import EXIT_UNAVAILABLE, CliError

PORT_FIRST: Final = 20_000
PORT_END: Final = 32_768
"""Systems give ports from here on to outgoing connections, so one found free would not stay so."""

TRIES_MAX: Final = 200


def free_ports(count: int) -> range:
    """So many ports in a row on which nothing listens. Where they begin is drawn, so that networks
    that are made at the same moment hardly ever get the same. Raises `CliError` PORT_IN_USE.
    """
    for _ in range(TRIES_MAX):
        first = PORT_FIRST + secrets.randbelow(PORT_END - PORT_FIRST - count)
        ports = range(first, first + count)
        if all(is_free(port) for port in ports):
            return ports
    raise CliError(
        "PORT_IN_USE",
        f"no {count} free ports in a row from {PORT_FIRST} to {PORT_END - 1}",
        f"{PORT_FIRST} 至 {PORT_END - 1} 之间没有 {count} 个连续的空闲端口",
        "end what listens there",
        "请结束占用这些端口的进程",
        exit_code=EXIT_UNAVAILABLE,
    )


def is_free(port: int) -> bool:
    """Whether nothing listens there; what only lingers after its end does not count."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
