"""The link: an SSH connection into an environment, over one stream of the engine."""
