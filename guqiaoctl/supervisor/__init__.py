"""Keeps the processes of the one-machine network running, and answers `guqiao dev`."""
