"""Tests of `rootblood.stores`."""
