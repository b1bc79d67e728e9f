"""Tests of `rootblood.stores.sql`, on real SQLite files."""
