"""Equity registration: accounts, registers, changes."""
