"""Partitions, one-way cuts, delay and loss between real replica processes, in namespaces (T-14)."""
