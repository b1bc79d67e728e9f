"""The link's far end: `enter` makes the home and becomes an sshd that any OpenSSH client can talk to."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.image.conftest import TIMEOUT_S, Environment

ENTER = "/usr/lib/rootblood/enter"
SKELETON = ".bash_logout\n.bashrc\n.profile\n"


def forget_home(environment: Environment) -> None:
    environment.exec("sh", "-c", 'cd / && chmod -R u+w "$HOME"; rm -rf "$HOME" /home/.new-*')


def test_sshd_speaks_as_the_accounts_own_uid(environment: Environment) -> None:
    result = environment.exec(ENTER)
    assert result.stdout.startswith("SSH-2.0-OpenSSH_")
    assert "Debian" not in result.stdout


def test_home_is_made_from_the_skeleton(environment: Environment) -> None:
    forget_home(environment)
    environment.exec(ENTER)
    listing = environment.exec("sh", "-c", 'stat -c "%a %u:%g" "$HOME"; ls -A "$HOME"; ls -A /home').stdout
    home = environment.account.home.removeprefix("/home/")
    assert f"700 20001:20001\n.bash_logout\n.bashrc\n.profile\n{home}\n" == listing


def test_home_that_is_there_is_left_alone(environment: Environment) -> None:
    forget_home(environment)
    # Even an empty one that its owner opened to everybody.
    make = 'mkdir -m 755 "$HOME"'
    look = 'stat -c "%i %a %Z" "$HOME"'
    script = f"{make}; {look}; {ENTER} </dev/null >/dev/null; {look}"
    first, second = environment.exec("sh", "-c", script).stdout.splitlines()
    assert first == second
    assert environment.exec("ls", "-A", environment.account.home).stdout == ""


def test_runs_at_once_make_one_home(environment: Environment) -> None:
    forget_home(environment)
    run = f"{ENTER} </dev/null 2>&1 >/dev/null &"
    messages = environment.exec("sh", "-c", f"for i in $(seq 20); do {run} done; wait").stdout
    assert "cannot make" not in messages
    assert (
        environment.exec("ls", "-A", "/home").stdout == environment.account.home.removeprefix("/home/") + "\n"
    )
    assert environment.exec("ls", "-A", environment.account.home).stdout == SKELETON


def test_leftover_of_a_crash_is_swept(environment: Environment) -> None:
    forget_home(environment)
    environment.exec("sh", "-c", "mkdir -p /home/.new-crashed/half")
    environment.exec(ENTER)
    assert (
        environment.account.home.removeprefix("/home/") + "\n" == environment.exec("ls", "-A", "/home").stdout
    )


def test_unknown_uid_is_refused_with_one_line(environment: Environment) -> None:
    result = environment.exec(ENTER, options=("--user", "29999:29999"))
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == "rootblood: UID 29999 has no account on the system volume\n"


def test_other_home_is_refused_with_one_line(environment: Environment) -> None:
    for home in ("/tmp", "/home/../etc", "/home/" + "A" * 32, "/home/" + "a" * 31, ""):
        result = environment.exec(ENTER, options=("--env", f"HOME={home}"))
        assert (result.returncode, result.stdout) == (1, "")
        assert result.stderr == "rootblood: HOME is not /home/<userhash>\n"


def test_home_of_another_is_not_made(environment: Environment) -> None:
    result = environment.exec(ENTER, options=("--env", "HOME=/home/" + "f" * 32))
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == "rootblood: HOME is not the home of alice\n"


def test_path_of_the_caller_is_not_used(environment: Environment) -> None:
    fake = 'mkdir -p /tmp/fake && printf "#!/bin/sh\\nexit 1\\n" >/tmp/fake/id && chmod +x /tmp/fake/id'
    assert environment.exec("sh", "-c", fake).returncode == 0
    result = environment.exec(ENTER, options=("--env", "PATH=/tmp/fake:/usr/bin:/bin"))
    assert result.stdout.startswith("SSH-2.0-")


def test_command_has_its_status_streams_and_environment(environment: Environment) -> None:
    result = environment.ssh("id -un; id -u; pwd; umask; cat; echo err >&2; exit 7", stdin=b"\x00\xff in")
    expected = f"alice\n20001\n{environment.account.home}\n0022\n".encode() + b"\x00\xff in"
    assert (7, expected, b"err\n") == (result.returncode, result.stdout, result.stderr)


# How the front door runs a command: see `command-env.sh`.
COMMAND_ENV = ("-o", "SetEnv=SHLVL=1 BASH_ENV=/usr/lib/rootblood/command-env.sh")


@pytest.fixture
def bashrc(environment: Environment) -> Iterator[Callable[[str], None]]:
    """Writes ~/.bashrc, and puts the old one back at the end."""

    def write(text: str) -> None:
        assert environment.ssh(*COMMAND_ENV, "cat >.bashrc", stdin=f"{text}\n".encode()).returncode == 0

    yield write
    assert environment.ssh(*COMMAND_ENV, "cp /etc/skel/.bashrc .").returncode == 0


@pytest.mark.parametrize(
    "line",
    [
        "export PATH=$PATH:/from/bashrc; exit 3",
        "echo noise; echo noise >&2; cat; PATH=$PATH:/from/bashrc; cd /; set -e; false; PATH=/nowhere",
        "PATH=$PATH:/from/bashrc; : ${unset:?}; PATH=/nowhere",
        "PATH=$PATH:/from/bashrc; nonsense {",
    ],
)
def test_a_command_has_what_the_bashrc_exports_whatever_else_that_does(
    environment: Environment, bashrc: Callable[[str], None], line: str
) -> None:
    bashrc(line)
    command = "cat; echo $0 ${PATH##*:} $SHLVL ${BASH_ENV-none} $PWD; exit 7"
    result = environment.ssh(*COMMAND_ENV, command, stdin=b"in\n")
    home = environment.account.home.encode()
    assert (7, b"in\nbash /from/bashrc 1 none " + home + b"\n") == (result.returncode, result.stdout)
    assert b"" == result.stderr


@pytest.mark.parametrize("line", ["exec /bin/false", "kill -9 $BASHPID", "while :; do :; done"])
def test_a_command_runs_without_a_bashrc_that_never_says_what_it_exports(
    environment: Environment, bashrc: Callable[[str], None], line: str
) -> None:
    bashrc(f"PATH=/nowhere; {line}")
    result = environment.ssh(*COMMAND_ENV, "wait; echo on; ps -e -o args=; exit 7")
    assert 7 == result.returncode
    said, *running = result.stdout.decode().splitlines()
    assert "on" == said
    assert [] == [args for args in running if args.startswith("bash") and "wait; echo on" not in args]


def test_utf8_reaches_commands_whose_client_sent_no_locale(environment: Environment) -> None:
    result = environment.ssh("echo $LANG; locale charmap")
    assert result.stdout == b"C.UTF-8\nUTF-8\n"


def test_terminal_greets_and_has_a_prompt(environment: Environment) -> None:
    result = environment.ssh("-tt", "exec /usr/lib/rootblood/shell", stdin=b"tty; exit\n")
    assert result.returncode == 0
    assert b"Welcome to RootBlood" in result.stdout
    assert b"alice@" in result.stdout
    assert b"/dev/pts/" in result.stdout


def test_processes_run_without_any_privilege(environment: Environment) -> None:
    result = environment.ssh("grep -E '^(Cap|NoNewPrivs|Uid)' /proc/self/status | tr -s '\\t' ' '")
    assert result.stdout == (
        b"Uid: 20001 20001 20001 20001\n"
        b"CapInh: 0000000000000000\nCapPrm: 0000000000000000\nCapEff: 0000000000000000\n"
        b"CapBnd: 0000000000000000\nCapAmb: 0000000000000000\nNoNewPrivs: 1\n"
    )


def test_sftp_brings_a_file_there_and_back(environment: Environment, tmp_path: Path) -> None:
    (tmp_path / "sent").write_bytes(bytes(range(256)) * 1000)
    batch = f"put {tmp_path}/sent a\nget a {tmp_path}/received\n"
    command = [*environment.client("sftp"), "-b", "-", "alice@environment"]
    result = subprocess.run(
        command, input=batch.encode(), capture_output=True, check=False, timeout=TIMEOUT_S
    )
    assert (result.returncode, result.stderr) == (0, b"")
    assert (tmp_path / "sent").read_bytes() == (tmp_path / "received").read_bytes()


def test_rc_file_cannot_break_file_transfer(environment: Environment, tmp_path: Path) -> None:
    environment.ssh('mkdir -p ~/.ssh && echo "echo noise" >~/.ssh/rc && touch kept')
    command = [*environment.client("scp"), "alice@environment:kept", str(tmp_path)]
    result = subprocess.run(command, capture_output=True, check=False, timeout=TIMEOUT_S)
    assert (result.returncode, result.stderr) == (0, b"")


def test_other_key_is_not_admitted(environment: Environment, tmp_path: Path) -> None:
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "other")],
        check=True,
        timeout=TIMEOUT_S,
    )
    command = [part for part in environment.client("ssh") if not part.startswith("-oIdentityFile")]
    command += ["-i", str(tmp_path / "other"), "alice@environment", "true"]
    result = subprocess.run(command, capture_output=True, check=False, timeout=TIMEOUT_S)
    assert result.returncode == 255
    assert b"Permission denied (publickey)" in result.stderr
