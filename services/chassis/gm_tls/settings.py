"""The bounds of a link, each with its unit."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class GmTlsSettings:
    """Time and memory that a link may take. None means no bound on that time."""

    # Until the other end answers at all; the handshake's time includes it.
    connect_timeout_seconds: float = 10.0
    handshake_timeout_seconds: float = 10.0
    # How long sent data may stay unacknowledged by the peer's system before the link counts as
    # broken (TCP_USER_TIMEOUT, where the system has it). None leaves it to the system, which waits
    # longer the longer a network was cut.
    unacknowledged_timeout_seconds: float | None = None
    # How long a read may wait for the first byte.
    idle_read_timeout_seconds: float | None = None
    # How long a peer may leave our data unread before the link counts as broken.
    write_stall_timeout_seconds: float | None = 60.0
    close_timeout_seconds: float = 5.0
    read_buffer_size_max: int = 1024 * 1024
    write_buffer_size_max: int = 1024 * 1024
    # A server's links in all, those of them that are still shaking hands, and of these what one
    # source address may have. Beyond the last two, one that has waited gives way to the next.
    links_max: int = 1024
    handshakes_max: int = 128
    handshakes_per_source_max: int = 64
