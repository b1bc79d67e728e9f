"""Homes as tarballs over HTTP, for browsers and programs: streamed as they are made, or from the spool."""
