"""Kafka's errors in the port's words: what may pass becomes a `TransientError`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from aiokafka import errors as kafka_errors

from services.chassis.bus.port import TransientError

# What trying again cannot mend: the service stops with the error, and an operator sees it.
PERMANENT: Final = (
    kafka_errors.AuthenticationFailedError,
    kafka_errors.AuthenticationMethodNotSupported,
    kafka_errors.ClusterAuthorizationFailedError,
    kafka_errors.GroupAuthorizationFailedError,
    kafka_errors.IncompatibleBrokerVersion,
    kafka_errors.InvalidTopicError,
    kafka_errors.KafkaConfigurationError,
    kafka_errors.MessageSizeTooLargeError,
    kafka_errors.RecordTooLargeError,
    kafka_errors.TopicAuthorizationFailedError,
    kafka_errors.UnsupportedVersionError,
)


@contextmanager
def translated() -> Iterator[None]:
    """Raise anything of Kafka's that may pass as transient."""
    try:
        yield
    except PERMANENT:
        raise
    except kafka_errors.KafkaError as error:
        raise TransientError(repr(error)) from error
