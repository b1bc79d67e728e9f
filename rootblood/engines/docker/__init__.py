"""Docker Engine behind the Engine Protocol; the only importer of docker."""
