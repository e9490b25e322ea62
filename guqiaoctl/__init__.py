"""The `guqiao` command and the one-machine network."""
