"""Structured logs: JSON, one record a line, trace ids on each, personal data never.

Event names are constants in `noun.past_tense` form; facts are fields. What other libraries log
through `logging` takes the same way out, so that every line of a process can be parsed.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from services.chassis.telemetry import current_trace_id

REDACTED: Final = "[redacted]"
DEPTH_MAX: Final = 6
TEXT_CHARACTERS_MAX: Final = 16_384

# Keys whose values are personal data or secrets, whole or as the end of a longer name.
PERSONAL_KEYS: Final = frozenset(
    {
        "bank_account", "bank_card", "email", "full_name", "home_address", "id_card", "id_number",
        "investor_name", "legal_person", "mobile", "person_name", "phone", "resident_id",
    }
)  # fmt: skip
SECRET_KEYS: Final = frozenset(
    {"authorization", "passphrase", "password", "private_key", "scalar", "secret", "token"}
)

_RESIDENT_ID: Final = re.compile(
    r"(?<![0-9A-Za-z])[1-9]\d{5}(?:18|19|20)\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])\d{3}[\dXx]"
    r"(?![0-9A-Za-z])"
)
_MOBILE: Final = re.compile(r"(?<![0-9A-Za-z])1[3-9]\d{9}(?![0-9A-Za-z])")
# JSON leaves these as they are, yet some readers break lines or obey terminal commands at them.
_UNSAFE: Final = re.compile("[\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def configure_logging(
    *, domain: str, service: str, level: str = "info", stream: TextIO | None = None
) -> None:
    """Set up the process's logs, to standard error unless told otherwise. Called once, in
    `__main__`.
    """
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        _identity_of_process(domain, service),
        _add_trace_id,
        structlog.processors.format_exc_info,
        redact,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(stream if stream is not None else sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                render_line,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())


def redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Remove personal data and secrets, by the key's name and by the value's shape."""
    return {key: _clean(key, value, 0) for key, value in event.items()}


def render_line(_logger: WrappedLogger, _method: str, event: EventDict) -> str:
    """The record as one line of JSON that no character can break or turn into a command."""
    text = json.dumps(event, ensure_ascii=False, default=str, sort_keys=True)
    return _UNSAFE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def _clean(key: str, value: Any, depth: int) -> Any:
    if _is_sensitive(key) and value is not None:
        return REDACTED
    if depth >= DEPTH_MAX:
        return "[too deep]"
    match value:
        case None | bool() | int() | float():
            return _clean_text(str(value)) if _looks_personal(str(value)) else value
        case str():
            return _clean_text(value)
        case bytes():
            return f"[{len(value)} bytes]"
        case Mapping():
            return {str(name): _clean(str(name), item, depth + 1) for name, item in value.items()}
        case Sequence() | set() | frozenset():
            return [_clean(key, item, depth + 1) for item in value]
    return _clean_text(str(value))


def _is_sensitive(key: str) -> bool:
    name = key.lower().replace("-", "_")
    return any(name == word or name.endswith(f"_{word}") for word in (*PERSONAL_KEYS, *SECRET_KEYS))


def _looks_personal(text: str) -> bool:
    return _RESIDENT_ID.search(text) is not None or _MOBILE.search(text) is not None


def _clean_text(text: str) -> str:
    cleaned = _MOBILE.sub(REDACTED, _RESIDENT_ID.sub(REDACTED, text))
    if len(cleaned) <= TEXT_CHARACTERS_MAX:
        return cleaned
    return f"{cleaned[:TEXT_CHARACTERS_MAX]}[cut, {len(cleaned)} characters]"


def _identity_of_process(domain: str, service: str) -> Processor:
    def add(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        event.setdefault("domain", domain)
        event.setdefault("service", service)
        return event

    return add


def _add_trace_id(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    if trace_id := current_trace_id():
        event.setdefault("trace_id", trace_id)
    return event
