"""Crash campaigns on a replica's store; docs/reliability.md sections 2, 6 and 7 (T-10 to T-13)."""
