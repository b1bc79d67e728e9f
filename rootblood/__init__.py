"""RootBlood: a front door to persistent Linux environments.

Every account has an environment of its own (a hardened container with a persistent home) and two doors to
it: an SSH server (`rootblood.ssh`) and a web companion (`rootblood.web`). Both stand on the same services;
`rootblood.app` puts the parts together.
"""

__version__ = "0.1.0"
