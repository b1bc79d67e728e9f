"""asyncssh's server channel, with three things it does not let a session decide.

A command is bytes to RFC 4254, and reaches the account's shell as the client sent it: asyncssh refuses what
is not UTF-8, so it is decoded here with surrogates that stand for the other bytes. And asyncssh keeps any
number of environment variables: here what is not on the list, or is too much, is refused one by one. Whether
an agent may be forwarded is the account's, not the server's.

Here, in `rootblood.ssh.keyexchange` and in `rootblood.link.channel`, and nowhere else, something is
overridden that asyncssh keeps private.
"""

import asyncio

import asyncssh
from asyncssh.packet import SSHPacket
from typing_extensions import override

from rootblood.link.channel import MAX_PACKET_BYTES, WINDOW_BYTES, BoundedChannel
from rootblood.ssh.environment import ClientEnvironment


class SessionChannel(BoundedChannel, asyncssh.SSHServerChannel[bytes]):
    """A session channel that carries bytes.

    Args:
        connection: the connection it is opened on.
        environment: decides which of the client's variables are taken.
        allow_agent: whether the client may forward its ssh-agent.
    """

    def __init__(
        self,
        connection: asyncssh.SSHServerConnection,
        environment: ClientEnvironment,
        *,
        allow_agent: bool,
    ) -> None:
        connection._update_recv_pktlen(MAX_PACKET_BYTES)  # noqa: SLF001 - as create_server_channel does
        super().__init__(
            connection,
            asyncio.get_running_loop(),
            allow_pty=True,
            line_editor=False,
            line_echo=False,
            line_history=0,
            max_line_length=0,
            encoding=None,
            errors="strict",
            window=WINDOW_BYTES,
            max_pktsize=MAX_PACKET_BYTES,
        )
        self._environment = environment
        self._allow_agent = allow_agent

    @override
    def _process_exec_request(self, packet: SSHPacket) -> bool:
        command = packet.get_string()
        packet.check_end()
        return self._start_session(command=command.decode("utf-8", "surrogateescape"))

    @override
    def _process_env_request(self, packet: SSHPacket) -> bool:
        name = packet.get_string()
        value = packet.get_string()
        packet.check_end()
        return self._environment.offer(name, value)

    @override
    def _process_auth_agent_req_at_openssh_dot_com_request(self, packet: SSHPacket) -> None:
        if self._allow_agent:
            super()._process_auth_agent_req_at_openssh_dot_com_request(packet)
        else:
            self._report_response(result=False)


def command_bytes(command: str) -> bytes:
    """The bytes a client sent as its command, from the text `exec_requested` gets."""
    return command.encode("utf-8", "surrogateescape")
