"""Empty OpenSSL's error queue of this thread.

pyOpenSSL and cryptography share one OpenSSL and one queue. What a refused certificate leaves in it
can be read as the reason why the next call failed, so whoever makes OpenSSL refuse something
empties the queue.
"""

from __future__ import annotations

from typing import Any

from OpenSSL import _util


def forget_openssl_errors() -> None:
    """Drop what earlier calls left."""
    library: Any = _util.lib
    library.ERR_clear_error()
