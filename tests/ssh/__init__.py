"""Mirrors rootblood.ssh."""
