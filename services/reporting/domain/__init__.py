"""Pure: what a data object says of itself."""
