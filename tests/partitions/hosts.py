"""Hosts of the campaign's own: a network namespace each, with a TUN device whose other end we hold.

Nothing of the machine's own network is touched. Needs the right to make namespaces, which root has,
and any user where user namespaces are allowed.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
import subprocess
import sys
from dataclasses import dataclass
from typing import Final, Self

from tests.partitions.switch import address

CLONE_NEWNET: Final = 0x4000_0000
TUNSETIFF: Final = 0x4004_54CA
IFF_TUN: Final = 0x0001
IFF_NO_PI: Final = 0x1000
DEVICE: Final = "tun0"


def why_not() -> str | None:
    """Why this machine gives no such host, or None."""
    try:
        with Host(0):
            return None
    except OSError as error:
        return str(error)


@dataclass(slots=True)
class Host:
    """One host. `device` carries its packets; `prefix` before a command runs it there."""

    number: int
    device: int = -1
    _holder: subprocess.Popen[bytes] | None = None
    _link: socket.socket | None = None

    @property
    def prefix(self) -> tuple[str, ...]:
        """What to put before a command."""
        assert self._holder is not None, "the host is not up"
        return ("nsenter", f"--net=/proc/{self._holder.pid}/ns/net", "--")

    def __enter__(self) -> Self:
        self._link, theirs = socket.socketpair()
        with theirs:
            self._holder = subprocess.Popen(
                [sys.executable, "-m", "tests.partitions.hosts", str(self.number)],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
            )
        _, devices, _, _ = socket.recv_fds(self._link, 1, 1)
        if not devices:
            _, said = self._holder.communicate()
            raise OSError(said.decode(errors="replace").strip().splitlines()[-1])
        self.device = devices[0]
        return self

    def __exit__(self, *_: object) -> None:
        assert self._link is not None
        assert self._holder is not None
        self._link.close()
        self._holder.communicate()
        if self.device >= 0:
            os.close(self.device)


def _hold(number: int) -> None:
    """Be the host: make its namespace and its device, hand the device over, and stay as long as
    whoever asked.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET) != 0:
        raise OSError(
            ctypes.get_errno(), "no network namespace: " + os.strerror(ctypes.get_errno())
        )
    device = os.open("/dev/net/tun", os.O_RDWR)
    request = struct.pack("16sH14s", DEVICE.encode(), IFF_TUN | IFF_NO_PI, b"")
    fcntl.ioctl(device, TUNSETIFF, request)
    for command in (
        ("addr", "add", f"{address(number)}/24", "dev", DEVICE),
        ("link", "set", DEVICE, "up"),
        ("link", "set", "lo", "up"),
    ):
        subprocess.run(["ip", *command], check=True)
    with socket.socket(fileno=0) as whoever_asked:
        socket.send_fds(whoever_asked, [b"1"], [device])
        os.close(device)
        whoever_asked.recv(1)  # Ends with whoever asked.


if __name__ == "__main__":
    _hold(int(sys.argv[1]))
