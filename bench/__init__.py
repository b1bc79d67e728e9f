"""RootBlood beside its peers on one machine, in one run; every figure is a ratio. See `make bench`."""
