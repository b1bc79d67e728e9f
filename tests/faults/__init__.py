"""Faults, really injected, on the real engine: what users, neighbours and the operator get to see of each."""
