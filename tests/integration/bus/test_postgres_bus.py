"""The bus contract over the PostgreSQL event log."""

from tests.integration.bus.contract import (
    EffectContract,
    OrderContract,
    PoisonContract,
    TopicContract,
)
from tests.integration.bus.outage import OutageContract


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
