"""How fast national cryptography is on this machine: one JSON object, operations per second.

`verify_many` is on all cores, the rest on one. Figures of this run only: another machine, or a busy
one, gives others.
"""

from __future__ import annotations

import argparse
import json
import os
import time
import warnings
from collections.abc import Callable

from guqiao_sdk.gm.libcrypto import LibcryptoProvider
from guqiao_sdk.gm.provider import SlowGmBackendWarning, open_provider
from guqiao_sdk.gm.sm3 import sm3

MESSAGE = bytes(200)


def rate(work: Callable[[], object], seconds: float, operations: int = 1) -> float:
    """Repeat for about that long."""
    work()
    count, start = 0, time.perf_counter()
    while (spent := time.perf_counter() - start) < seconds:
        work()
        count += 1
    return round(count * operations / spent, 1)


def measure(backend: str, seconds: float) -> dict[str, object]:
    """Measure one backend."""
    provider = open_provider("gmssl" if backend == "gmssl" else "libcrypto")
    private = provider.keygen()
    public, signature = private.public_key, provider.sign(private, MESSAGE)
    items = [(public, MESSAGE, signature)] * (500 if backend == "libcrypto" else 8)
    assert all(provider.verify_many(items))
    version = hex(provider.version) if isinstance(provider, LibcryptoProvider) else None
    key, nonce, text = bytes(16), bytes(12), bytes(65536)
    return {
        "backend": backend,
        "library_version": version,
        "keygen_per_second": rate(provider.keygen, seconds),
        "sign_per_second": rate(lambda: provider.sign(private, MESSAGE), seconds),
        "verify_per_second": rate(lambda: provider.verify(public, MESSAGE, signature), seconds),
        "verify_many_per_second": rate(lambda: provider.verify_many(items), seconds, len(items)),
        "sm4_gcm_64k_mb_per_second": rate(
            lambda: provider.sm4_gcm_encrypt(key, nonce, text, b""), seconds, 65536
        )
        / 1e6,
    }


def main() -> None:
    """Print the figures."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--seconds", type=float, default=1.0, help="per figure")
    seconds = arguments.parse_args().seconds
    warnings.simplefilter("ignore", SlowGmBackendWarning)
    report = {
        "benchmark": "gm_speed",
        "cores": os.cpu_count(),
        "sm3_64b_per_second": rate(lambda: sm3(bytes(64)), seconds),
        "backends": [measure(backend, seconds) for backend in ("libcrypto", "gmssl")],
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
