"""Commits blocks until it is killed, and says on standard output what is durable.

Run by the crash test: `python -m tests.integration.ledger.crash_writer FOLDER`.
"""

from __future__ import annotations

import sys
from pathlib import Path

from services.consensus.store import StoreOptions
from tests.integration.ledger.store_builder import certificate_of, commit, open_store, payloads_of


def main(folder: Path) -> None:
    store = open_store(folder, options=StoreOptions(reserve_bytes=0, segment_bytes_max=100_000))
    print("ready", store.last_height, flush=True)
    while True:
        height = store.last_height + 1
        store.append_records([b"vote %d" % height])
        print("vote", height, flush=True)
        header = commit(store, *payloads_of(height))
        print("block", height, header.hash().hex(), flush=True)
        store.put_certificate(height, certificate_of(header))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
