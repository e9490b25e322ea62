"""The vendored calendar, generated and checked."""
