"""What users and operators get to see of a fault, and what is left of it on the engine."""

from rootblood.domain.environments import container_name
from tests.e2e.installation import CLIENT_TIMEOUT_S, Client, Installation, Server, docker_api


def says_ok(client: Client, timeout_s: float = CLIENT_TIMEOUT_S) -> bool:
    done = client.run("echo ok", timeout_s=timeout_s)
    return (0, b"ok\n", b"") == (done.returncode, done.stdout, done.stderr)


def assert_fails_in_one_line(client: Client, status: int, word: str) -> None:
    """A login that ends with this status and one line on stderr, and nothing on stdout."""
    done = client.run("echo never")
    assert (status, b"") == (done.returncode, done.stdout), done.stderr
    (line,) = done.stderr.decode().splitlines()
    assert line.startswith("rootblood: ")
    assert word in line


def assert_stays_up(server: Server, *causes: str) -> None:
    """The server runs on, and its log names the cause without a traceback."""
    assert server.process.poll() is None
    assert [] == [cause for cause in causes if cause not in server.log]
    assert "Traceback" not in server.log


def container_of(installation: Installation, name: str = "alice") -> str:
    return container_name(installation.userhash(name))


def processes(container: str) -> dict[int, str]:
    """What runs in the container: the host's process IDs and command lines."""
    with docker_api() as api:
        top = api.top(container, "-eo pid,args")
    return {int(row[0]): " ".join(row[1:]) for row in top["Processes"]}


def refusal(client: Client, command: str) -> tuple[int, str]:
    """Status of a command that must fail, and the one line that says why."""
    done = client.run(command)
    (line,) = done.stderr.decode().splitlines()
    assert line.startswith("rootblood: ")
    return done.returncode, line.removeprefix("rootblood: ")
