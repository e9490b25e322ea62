"""Every limit of a gRPC server, named, with its unit, in one frozen value.

gRPC's own defaults are generous or infinite; a server here states each one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

# The core refuses a message without details. This margin lets a message that is a little too large
# reach our own check, which answers with a code and the limit; far larger ones are still cut by
# the core.
OVERSIZE_MARGIN_BYTES: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """What one server allows. Where answers may be longer than requests, `answer_bytes_max` says
    how long; None: as long as requests.
    """

    message_bytes_max: int = 4 * 1024 * 1024
    answer_bytes_max: int | None = None
    unread_bytes_per_stream_max: int = 64 * 1024
    metadata_bytes_max: int = 16 * 1024
    # gRPC's own, which refuses without a code: our bounds below refuse long before it.
    concurrent_rpcs_max: int = 4_096
    calls_per_identity_max: int = 256
    calls_per_organisation_max: int = 1_024
    # Calls whose message has not come: what such a call may take, how many there are of one source
    # (a connection, or the organisation behind the tunnel), and in all.
    first_message_seconds: float = 5.0
    calls_without_message_per_source_max: int = 256
    calls_without_message_max: int = 1_024
    # Messages in hand, of one source and in all; what the core is still reading is beside it.
    bytes_held_per_source_max: int = 32 * 1024 * 1024
    bytes_held_max: int = 128 * 1024 * 1024
    streams_per_connection_max: int = 128
    deadline_default_seconds: float = 30.0
    deadline_max_seconds: float = 300.0
    stream_deadline_seconds: float = 3_600.0
    stream_idle_seconds: float = 300.0
    key_recheck_seconds: float = 30.0
    keepalive_milliseconds: int = 60_000
    keepalive_timeout_milliseconds: int = 20_000
    ping_interval_min_milliseconds: int = 10_000
    ping_strikes_max: int = 2
    connection_idle_milliseconds: int = 3_600_000
    connection_age_milliseconds: int = 6 * 3_600_000
    connection_age_grace_milliseconds: int = 60_000
    rate_per_second: float = 2_000.0
    rate_burst: int = 4_000

    def channel_options(self) -> list[tuple[str, int]]:
        """The limits as gRPC core reads them."""
        answer_bytes_max = self.answer_bytes_max or self.message_bytes_max
        return [
            ("grpc.max_receive_message_length", self.message_bytes_max + OVERSIZE_MARGIN_BYTES),
            ("grpc.max_send_message_length", answer_bytes_max),
            # Else the core widens its windows to what the network carries, and holds whole messages
            # of all streams before anybody reads one. It has no budget of bytes for them together.
            ("grpc.http2.bdp_probe", 0),
            ("grpc.http2.lookahead_bytes", self.unread_bytes_per_stream_max),
            ("grpc.max_metadata_size", self.metadata_bytes_max),
            ("grpc.absolute_max_metadata_size", self.metadata_bytes_max),
            ("grpc.max_concurrent_streams", self.streams_per_connection_max),
            ("grpc.keepalive_time_ms", self.keepalive_milliseconds),
            ("grpc.keepalive_timeout_ms", self.keepalive_timeout_milliseconds),
            ("grpc.keepalive_permit_without_calls", 1),
            (
                "grpc.http2.min_ping_interval_without_data_ms",
                self.ping_interval_min_milliseconds,
            ),
            ("grpc.http2.max_ping_strikes", self.ping_strikes_max),
            ("grpc.max_connection_idle_ms", self.connection_idle_milliseconds),
            ("grpc.max_connection_age_ms", self.connection_age_milliseconds),
            ("grpc.max_connection_age_grace_ms", self.connection_age_grace_milliseconds),
            ("grpc.so_reuseport", 0),
        ]
