"""Tests of rootblood.engines.docker."""
