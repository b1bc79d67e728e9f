"""Tests of `rootblood.domain`."""
