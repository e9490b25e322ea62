"""Before the newest revocation list on chain ends, the gateway says so."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from services.chassis.telemetry import Metrics
from services.gateway.metrics import GatewayMetrics
from services.gateway.revocation_lists import PublishedList, look_at

pytestmark = pytest.mark.req("G2-19-5")

HOUR_MS = 3_600_000
WEEK = PublishedList("ab" * 32, "7", 0, 168 * HOUR_MS)
DAY = PublishedList("cd" * 32, "9", 0, 24 * HOUR_MS)


@pytest.mark.parametrize(
    ("of", "hours", "soon"),
    [
        (WEEK, 0, False),
        (WEEK, 119, False),
        (WEEK, 120, True),
        (WEEK, 169, True),
        (DAY, 11, False),
        (DAY, 12, True),
    ],
)
def test_a_list_ends_soon_two_days_before_its_end_or_at_half_its_time(
    of: PublishedList, hours: int, soon: bool
) -> None:
    assert of.ends_soon(hours * HOUR_MS) is soon


def test_the_alarm_names_the_list_and_stays_until_the_next_one_is_there() -> None:
    metrics = Metrics()
    own = GatewayMetrics(metrics)
    alarm = 'guqiao_gateway_alarms_total{code="CRL_ENDS_SOON",remote="csrc"}'
    with capture_logs() as logs:
        look_at([WEEK], "csrc", own, 100 * HOUR_MS)
    assert (logs, alarm in metrics.render().decode()) == ([], False)
    for count in (1, 2):
        with capture_logs() as logs:
            look_at([WEEK], "csrc", own, 130 * HOUR_MS)
        (told,) = logs
        assert (told["event"], told["code"]) == ("gateway.crl_ends_soon", "CRL_ENDS_SOON")
        assert (told["authority"], told["left_seconds"]) == ("ab" * 32, 38 * 3_600)
        assert f"{alarm} {count}.0" in metrics.render().decode()
    following = PublishedList(WEEK.authority, "8", 120 * HOUR_MS, 288 * HOUR_MS)
    with capture_logs() as logs:
        look_at([following], "csrc", own, 130 * HOUR_MS)
    assert logs == []
    ends = f'guqiao_gateway_revocation_list_end_seconds{{authority="{WEEK.authority}"}}'
    assert f"{ends} 1.0368e+06" in metrics.render().decode(), "288 hours"


def test_an_authority_that_counts_no_more_is_shown_no_more() -> None:
    metrics = Metrics()
    own = GatewayMetrics(metrics)
    look_at([WEEK, DAY], "csrc", own, 0)
    assert metrics.render().decode().count("list_end_seconds{") == 2
    look_at([DAY], "csrc", own, 0)
    assert metrics.render().decode().count("list_end_seconds{") == 1
