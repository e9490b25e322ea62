"""Upgrade notices: their form, the interfaces that they compare, and the formats that follow."""
