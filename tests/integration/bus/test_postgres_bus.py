"""The bus contract over the PostgreSQL event log."""

from tests.integration.bus.contract import (
    EffectContract,
    OrderContract,
    OutageContract,
    PoisonContract,
    TopicContract,
)


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
