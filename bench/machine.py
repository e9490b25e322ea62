"""The machine: what it is, how fast it verifies on all cores at once, what processes used of it."""

from __future__ import annotations

import multiprocessing
import os
import platform
import subprocess
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from guqiao_sdk.gm.libcrypto import LibcryptoProvider
from guqiao_sdk.gm.provider import open_provider

MESSAGE: Final = bytes(450)
"""About as long as what a transaction's signature covers."""

VERIFY_SECONDS: Final = 1.5
CORES: Final = len(os.sched_getaffinity(0))
_TICKS: Final = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class VerifyRate:
    """SM2 verifications of all cores at once, and what one costs in CPU time."""

    per_second: float
    cpu_us: float


def machine_facts() -> dict[str, object]:
    """What a reader must know to compare figures."""
    provider = open_provider()
    version = hex(provider.version) if isinstance(provider, LibcryptoProvider) else "none"
    return {
        "cores": CORES,
        "cpu": _cpu_model(),
        "memory_mb": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 1_000_000,
        "load_before": round(os.getloadavg()[0], 2),
        "system": platform.platform(),
        "python": platform.python_version(),
        "sm2": f"{provider.name} {version}",
    }


def revision(folder: Path) -> str | None:
    """The commit of a work tree, `-dirty` where files differ from it; None outside of one."""
    if not (folder / ".git").exists():
        return None  # Else git would tell of a work tree around this folder.
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        told = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    except FileNotFoundError:
        return None  # No git here.
    return told.stdout.strip() if told.returncode == 0 else None


def verify_rate(pool: ProcessPoolExecutor) -> VerifyRate:
    """Verify on every core for a moment; a process each, so that no lock is shared."""
    parts = list(pool.map(_verify_for, [VERIFY_SECONDS] * CORES))
    count = sum(part[0] for part in parts)
    return VerifyRate(
        per_second=sum(count / wall for count, wall, _ in parts),
        cpu_us=sum(part[2] for part in parts) / count * 1e6,
    )


def open_pool() -> ProcessPoolExecutor:
    """One worker a core, for verifying and signing outside the measured intervals."""
    return ProcessPoolExecutor(CORES, mp_context=multiprocessing.get_context("spawn"))


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far; 0 when it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / _TICKS


def memory_mb(pid: int) -> tuple[float, float]:
    """(RssAnon + RssShmem, RssFile) of a process, in MB; zeros when it is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0, 0.0
    kilobytes = {
        name: int(value.split()[0])
        for name, _, value in (line.partition(":") for line in lines)
        if name in ("RssAnon", "RssShmem", "RssFile")
    }
    anonymous = kilobytes.get("RssAnon", 0) + kilobytes.get("RssShmem", 0)
    return anonymous * 1024 / 1e6, kilobytes.get("RssFile", 0) * 1024 / 1e6


def _verify_for(seconds: float) -> tuple[int, float, float]:
    provider = open_provider()
    private = provider.keygen()
    signature = provider.sign(private, MESSAGE)
    provider.verify(private.public_key, MESSAGE, signature)
    count, wall, cpu = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - wall < seconds:
        for _ in range(20):
            assert provider.verify(private.public_key, MESSAGE, signature)
        count += 20
    return count, time.perf_counter() - wall, time.process_time() - cpu


def _cpu_model() -> str:
    path = Path("/proc/cpuinfo")
    for line in path.read_text().splitlines() if path.exists() else ():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or "unknown"
