"""`make demo`: the main job, once, in a fresh folder. The last line on standard output is one JSON
object.

Set-up, start, import with the gateway killed and a second one started, the primary killed, and the
regulatory chain stopped for a while; equal results, anchoring with proofs, both ends of the link
reconciled, a bundle verified without a network and refused when tampered with, a clean end. Exit
code 0 only if all of it held.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from guqiaoctl.demo.scenario import Outcome, play
from guqiaoctl.output import choose, say

EXIT_INTERRUPTED: Final = 130


def main() -> int:
    """Play the demonstration and print its judgement."""
    began = time.monotonic()
    if len(sys.argv) > 1:  # The Unix time at which make began: set-up counts from there.
        began -= max(0.0, time.time() - float(sys.argv[1]))
    folder = Path(tempfile.mkdtemp(prefix="guqiao-demo-"))
    try:
        outcome = asyncio.run(_play(folder, began))
    except Exception as error:
        for cause in _causes(error):
            say(f"the demonstration failed: {type(cause).__name__}: {cause}")
        outcome = Outcome(ok=False)
        _keep_logs(folder)
    except (KeyboardInterrupt, asyncio.CancelledError):
        say(choose("stopped", "已停止"))
        return EXIT_INTERRUPTED
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(json.dumps(outcome.to_json()))
    return 0 if outcome.ok else 1


async def _play(folder: Path, began: float) -> Outcome:
    """Asked to end, it ends as with Ctrl-C: the network is stopped and its folder removed."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await play(folder, began)


def _causes(error: BaseException) -> list[BaseException]:
    """What went wrong, out of all groups."""
    if isinstance(error, BaseExceptionGroup):
        return [cause for inner in error.exceptions for cause in _causes(inner)]
    return [error]


def _keep_logs(folder: Path) -> None:
    """Show the end of each log before the folder goes."""
    for path in sorted(folder.glob("network/logs/*.log")):
        lines = path.read_text(errors="replace").splitlines()
        for line in [line for line in lines if '"level": "info"' not in line][-3:]:
            say(f"  {path.stem}: {line[:300]}")


if __name__ == "__main__":
    sys.exit(main())
