"""The environment of child processes: the supervisor's own, with output unbuffered."""

from __future__ import annotations

import os


def child_environment() -> dict[str, str]:
    """A copy for children."""
    inherited = dict(os.environ)  # noqa: TID251 - passed on, not read
    return inherited | {"PYTHONUNBUFFERED": "1"}
