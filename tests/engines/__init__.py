"""Tests of rootblood.engines."""
