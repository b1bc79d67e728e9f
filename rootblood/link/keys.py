"""The keys of the link's inner SSH connection.

They guard nothing by themselves: only the engine's exec reaches that sshd, and the inner host key must be
readable by every account. They are still made for each installation and pinned, so that a link speaks to the
sshd it means to, and no private key is ever shipped in an image.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import asyncssh

from rootblood.link.keyfiles import create_private_key, read_private_key

_CLIENT = "link_client_ed25519_key"
_HOST = "link_host_ed25519_key"


@dataclass(frozen=True, slots=True)
class LinkKeys:
    """Both ends' keys: the front door's own, and the one it expects of every environment's sshd."""

    client: asyncssh.SSHKey
    host: asyncssh.SSHKey
    host_file: str
    """As it is on disk: each export of the key is another text, and every install would replace the last."""

    @property
    def files(self) -> Mapping[str, str]:
        """What the environments' sshd reads, by file name under /etc/rootblood."""
        return {
            "ssh_host_ed25519_key": self.host_file,
            "authorized_keys": self.client.export_public_key("openssh").decode("ascii"),
        }


def create_link_keys(directory: Path) -> bool:
    """Make the keys that are missing; False when none was."""
    made = [create_private_key(directory / name, comment=f"rootblood-{name}") for name in (_CLIENT, _HOST)]
    return any(made)


def read_link_keys(directory: Path) -> LinkKeys:
    """Read both keys. Raises `ConfigurationError` where `rootblood setup` has not made them."""
    host = read_private_key(directory / _HOST)
    host_file = (directory / _HOST).read_text("ascii")
    return LinkKeys(client=read_private_key(directory / _CLIENT), host=host, host_file=host_file)
