"""Whole clusters in one thread: real replicas, a hostile network, one seed."""
