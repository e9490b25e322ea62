"""Which bus a domain has, and how to open it.

The embedded default is the PostgreSQL event log; production names Kafka's brokers. The choice is a
setting, never a fallback: a Kafka bus that is away is waited for, not replaced.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from services.chassis.bus.port import Bus
from services.chassis.bus.postgres import open_postgres_bus
from services.chassis.postgres.pool import PostgresSettings, entered, open_pool


class PostgresBusSettings(BaseModel):
    """The event log in the domain's bus database."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["postgres"] = "postgres"
    database: PostgresSettings


class KafkaBusSettings(BaseModel):
    """Apache Kafka. With a CA file, connections are TLS and brokers are verified against it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["kafka"] = "kafka"
    bootstrap: str
    replication_factor: int = Field(default=3, ge=1)
    ca_file: Path | None = None
    certificate_file: Path | None = None
    key_file: Path | None = None

    @model_validator(mode="after")
    def _complete(self) -> KafkaBusSettings:
        if (self.certificate_file is None) != (self.key_file is None):
            raise ValueError("certificate_file and key_file belong together")
        if self.certificate_file is not None and self.ca_file is None:
            raise ValueError("a client certificate needs ca_file: connections would not be TLS")
        return self


BusSettings = Annotated[PostgresBusSettings | KafkaBusSettings, Field(discriminator="kind")]


@asynccontextmanager
async def open_bus(settings: PostgresBusSettings | KafkaBusSettings) -> AsyncIterator[Bus]:
    """The domain's bus, open until the block ends."""
    match settings:
        case PostgresBusSettings():
            async with (
                entered(open_pool(settings.database)) as pool,
                open_postgres_bus(pool) as bus,
            ):
                yield bus
        case KafkaBusSettings():
            # aiokafka is loaded only where Kafka is the bus.
            from services.chassis.bus.kafka import open_kafka_bus

            async with open_kafka_bus(settings) as kafka_bus:
                yield kafka_bus
