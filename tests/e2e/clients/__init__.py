"""The SSH clients people have, behind one face, so that the interop matrix asks each the same.

A new client is one file: how it logs in, runs a command, gets a terminal, and which ways it has to copy a
file. Programs that take `[options] user@host [command]` say only how their command lines look.
"""

import shutil

from tests.e2e.clients.asyncssh import AsyncSSH
from tests.e2e.clients.base import RealClient
from tests.e2e.clients.dropbear import Dropbear
from tests.e2e.clients.openssh import OpenSSH, TrixieOpenSSH
from tests.e2e.clients.paramiko import Paramiko
from tests.e2e.clients.putty import PuTTY

CLIENTS: tuple[RealClient, ...] = (
    OpenSSH(),
    TrixieOpenSSH(),
    PuTTY(),
    Dropbear(),
    Paramiko(),
    AsyncSSH(),
)


def missing(client: RealClient) -> list[str]:
    """Programs the client takes and this machine does not have."""
    return [program for program in client.needs if shutil.which(program) is None]
