"""Data objects, their quality and their provenance."""
