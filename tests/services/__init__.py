"""Tests of `rootblood.services`."""
