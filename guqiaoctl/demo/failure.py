"""How the demonstration fails."""

from __future__ import annotations


class DemoError(Exception):
    """Something that the demonstration promises does not hold."""
