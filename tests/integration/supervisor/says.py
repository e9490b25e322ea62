"""A process that says its argument and ends as it tells."""

from __future__ import annotations

import sys

if __name__ == "__main__":
    print("arguments:", *sys.argv[1:])
    match sys.argv[1]:
        case "exit 0":
            sys.exit(0)
        case "exit 3":
            sys.exit(3)
        case "exit with a reason":
            sys.exit("a reason")
        case "refuse":
            sys.exit("STORAGE_FAILED: fsync failed (Input/output error). Check the disk.")
        case "raise":
            raise ValueError("as it was told")
