"""The service market on the regulatory side."""
