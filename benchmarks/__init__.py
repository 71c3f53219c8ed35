"""Measurements of platform-ops, each against a floor or a peer of the same run: `make bench`."""
