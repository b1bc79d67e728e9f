"""Acknowledging at once what a client sends before its first channel.

OpenSSH's client turns Nagle's algorithm off only when its first channel is open. Until then, what it sends in
two writes waits for our acknowledgement of the first, and Linux delays that by 40 ms in the hope of an answer
to send it with; there is none to NEWKEYS, for one. So TCP_QUICKACK, which the kernel takes back by itself, is
set again after each read.
"""

import socket
from contextlib import suppress

import asyncssh


class PromptAcknowledgement:
    """Acknowledges at once, until it is told to stop.

    Args:
        connection: a client's.
    """

    def __init__(self, connection: asyncssh.SSHServerConnection) -> None:
        self._connection = connection
        self._data_received = connection.data_received
        self._socket = connection.get_extra_info("socket")
        connection.data_received = self._received  # type: ignore[method-assign]

    def stop(self) -> None:
        """Leave it to the kernel again: for bulk it knows better."""
        self._connection.data_received = self._data_received  # type: ignore[method-assign]

    def _received(self, data: bytes, datatype: asyncssh.DataType = None) -> None:
        self._data_received(data, datatype)
        with suppress(OSError):  # closed meanwhile
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
