"""The gateway's own metrics."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

from services.chassis.telemetry import Metrics


class GatewayMetrics:
    """What operators watch a link by."""

    def __init__(self, metrics: Metrics) -> None:
        self.alarms: Counter = metrics.counter(
            "guqiao_gateway_alarms_total",
            "What must never happen on a link and did, by remote chain and code",
            ("remote", "code"),
        )
        self.failures: Counter = metrics.counter(
            "guqiao_gateway_relay_failures_total",
            "Attempts of the relay that failed and are made again, by remote chain and step",
            ("remote", "step"),
        )
        self.packets: Counter = metrics.counter(
            "guqiao_gateway_packets_total",
            "Packets that a step of the relay carried, by remote chain and step",
            ("remote", "step"),
        )
        self.client_time: Gauge = metrics.gauge(
            "guqiao_gateway_light_client_time_seconds",
            "Block time of the newest header that the own chain's light client of a remote chain"
            " holds, Unix time",
            ("remote",),
        )
        self.list_ends: Gauge = metrics.gauge(
            "guqiao_gateway_revocation_list_end_seconds",
            "When the newest revocation list of an authority on the own chain ends, Unix time",
            ("authority",),
        )
        self.observed_height: Gauge = metrics.gauge(
            "guqiao_gateway_observed_height",
            "Height of an observed chain up to which its headers are recorded on the own chain",
            ("remote",),
        )
        self.observed_headers: Counter = metrics.counter(
            "guqiao_gateway_observed_headers_total",
            "Headers of an observed chain that this gateway brought to the own chain",
            ("remote",),
        )
        self.observed_nodes: Gauge = metrics.gauge(
            "guqiao_gateway_observed_nodes",
            "Nodes of an observed chain by what they were found to be when last compared",
            ("remote", "state"),
        )
