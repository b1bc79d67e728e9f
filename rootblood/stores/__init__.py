"""Where the rows are kept, behind small Protocols."""
