"""Faults that are really injected, on the real engine."""
