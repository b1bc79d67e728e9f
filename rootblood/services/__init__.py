"""Use cases that both doors share."""
