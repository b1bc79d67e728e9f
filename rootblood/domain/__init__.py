"""Pure values: what accounts, keys and environments are. No I/O happens here."""
