"""Tests of `rootblood.cli`."""
