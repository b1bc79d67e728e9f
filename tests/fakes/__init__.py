"""Stand-ins that behave, for tests of what stands on them."""
