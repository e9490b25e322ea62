"""The bus contract over a real Apache Kafka."""

import pytest

from tests.integration.bus.contract import (
    EffectContract,
    OrderContract,
    PoisonContract,
    TopicContract,
)
from tests.integration.bus.outage import OutageContract

pytestmark = pytest.mark.kafka


class TestOrder(OrderContract):
    """Order and groups."""


class TestTopics(TopicContract):
    """Topics."""


class TestEffects(EffectContract):
    """Exactly one effect."""


class TestPoison(PoisonContract):
    """Poison."""


class TestOutage(OutageContract):
    """Outages."""
