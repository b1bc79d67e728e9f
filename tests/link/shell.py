"""Starting a shell on a channel of the link."""

import asyncssh

from rootblood.link.channel import LinkChannel


async def open_shell(channel: LinkChannel, session: "asyncssh.SSHClientSession[bytes]") -> None:
    """Start a shell on `channel`, without a terminal."""
    await channel.create(
        lambda: session,
        command=None,
        subsystem=None,
        env={},
        request_pty=False,
        term_type=None,
        term_size=(0, 0, 0, 0),
        term_modes={},
        x11_forwarding=False,
        x11_display=None,
        x11_auth_path=None,
        x11_single_connection=False,
        agent_forwarding=False,
    )
