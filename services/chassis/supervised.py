"""Ends a process in time: when its supervisor is gone (Linux), and soon after it was asked to."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from typing import Final

_PR_SET_PDEATHSIG: Final = 1


def die_with_parent() -> None:
    """Ask for SIGTERM at the parent's death; a parent already gone ends this process now."""
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() == 1:
        sys.exit(0)


def end_within(seconds: float) -> None:
    """Give the clean end so long; after that the system ends the process, come what may.

    Every write is one transaction, so nothing is lost by it.
    """
    signal.setitimer(signal.ITIMER_REAL, seconds)
