"""Figures for Prometheus, on a listener of their own: the only place that knows Prometheus.

`registry` counts what the core and the doors tell, `census` asks what there is, `listener` answers /metrics
with both. No label has a value that a user can choose.
"""
