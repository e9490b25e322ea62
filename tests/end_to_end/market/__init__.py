"""The commands and the import, upon a market that is there."""
