"""Tests of rootblood.link."""
