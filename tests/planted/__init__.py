"""Mistakes that other people's PBFT code really had, planted one at a time: each must be caught."""
