"""Tests of rootblood.web."""
