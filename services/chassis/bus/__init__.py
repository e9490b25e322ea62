"""One domain's event bus: a narrow port, a consumer loop, and adapters for PostgreSQL and Kafka.

Services import from here; only `kafka` imports aiokafka, and only when it is asked for.
"""

from services.chassis.bus.consumer import ConsumerLimits, subscribe
from services.chassis.bus.port import (
    Bus,
    BusError,
    BusEvent,
    EventRefusedError,
    EventsExpiredError,
    Handler,
    ParkedEvent,
    PoisonError,
    Topic,
    TopicMismatchError,
    TopicMissingError,
    TransientError,
    new_event,
)
from services.chassis.bus.positions import discard_parked, list_parked, migrate_consumer
from services.chassis.bus.settings import BusSettings, open_bus

__all__ = [
    "Bus",
    "BusError",
    "BusEvent",
    "BusSettings",
    "ConsumerLimits",
    "EventRefusedError",
    "EventsExpiredError",
    "Handler",
    "ParkedEvent",
    "PoisonError",
    "Topic",
    "TopicMismatchError",
    "TopicMissingError",
    "TransientError",
    "discard_parked",
    "list_parked",
    "migrate_consumer",
    "new_event",
    "open_bus",
    "subscribe",
]
