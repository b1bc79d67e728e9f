"""Exit statuses, and the one line that goes with a failure."""

import subprocess
import sys
from pathlib import Path

import pytest

import rootblood as package
from rootblood.cli.main import COMMANDS, load_command
from tests.cli.conftest import Outcome, Rootblood
from tests.fakes.engine import FakeEngine


def test_the_version(rootblood: Rootblood) -> None:
    assert Outcome(0, f"rootblood {package.__version__}\n", "") == rootblood("--version")


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["user"],
        ["user", "nonsense"],
        ["user", "add"],
        ["user", "lock"],
        ["user", "list", "--nonsense"],
        ["key", "add", "alice"],
        ["env", "stop"],
    ],
)
def test_wrong_usage_is_2(installation: Path, rootblood: Rootblood, arguments: list[str]) -> None:
    del installation
    assert 2 == rootblood(*arguments).status


def test_help_is_0_and_names_every_noun(rootblood: Rootblood) -> None:
    outcome = rootblood("--help")

    assert 0 == outcome.status
    assert {"serve", "setup", "doctor", "user", "key", "env"} <= set(outcome.out.split())


def test_a_refusal_is_1_and_one_line(installation: Path, engine: FakeEngine, rootblood: Rootblood) -> None:
    del installation, engine
    assert Outcome(1, "", "rootblood: there is no account 'nobody'\n") == rootblood("user", "lock", "nobody")


def test_before_setup_every_command_says_what_to_do(directory: Path, rootblood: Rootblood) -> None:
    outcome = rootblood("user", "list")

    assert 1 == outcome.status
    assert 1 == len(outcome.err.splitlines())
    assert "rootblood setup" in outcome.err
    assert [] == list(directory.iterdir())


def test_wrong_settings_are_one_line(directory: Path, rootblood: Rootblood) -> None:
    (directory / "own.toml").write_text("[ssh]\nport = 'x'\n")

    outcome = rootblood("--config", "own.toml", "user", "list")

    assert 1 == outcome.status
    assert outcome.err.startswith("rootblood: setting ssh.port: ")
    assert 1 == len(outcome.err.splitlines())


def test_a_settings_file_that_is_not_there(directory: Path, rootblood: Rootblood) -> None:
    del directory
    assert (
        "rootblood: the settings file none.toml does not exist\n"
        == rootblood("--config", "none.toml", "user", "list").err
    )


def test_a_broken_database_is_one_line_with_the_cause(
    installation: Path, engine: FakeEngine, rootblood: Rootblood
) -> None:
    del engine
    (installation / "state" / "rootblood.db").write_bytes(b"something else entirely, " * 100)

    assert Outcome(1, "", "rootblood: the database does not answer: file is not a database\n") == rootblood(
        "user", "list"
    )


def test_as_a_program_of_its_own(installation: Path) -> None:
    """The same from outside, with no engine anywhere, in a locale that cannot show everything."""

    def run(*arguments: str) -> tuple[int, bytes, bytes]:
        done = subprocess.run(
            [sys.executable, "-m", "rootblood", *arguments],
            check=False,
            capture_output=True,
            cwd=installation,
            env={
                "PATH": "/usr/bin:/bin",
                "PYTHONPATH": ":".join(filter(None, sys.path)),
                "PYTHONIOENCODING": "ascii",
                "ROOTBLOOD_ENGINE__URL": f"unix://{installation}/no-such.sock",
            },
        )
        return done.returncode, done.stdout, done.stderr

    status, out, err = run("user", "add", "alice")
    assert 0 == status
    assert out.startswith(b"added alice, UID 20000\n")
    assert 1 == len(err.splitlines())
    assert b"is published to the environments at its first login" in err

    status, out, err = run("user", "lock", "caf\u00e9")
    assert (1, b"") == (status, out)
    assert b"rootblood: there is no account 'caf\\xe9'\n" == err

    status, out, err = run("env", "list")
    assert (1, b"", 1) == (status, out, len(err.splitlines()))


HEAVY = {"aiohttp", "alembic", "asyncssh", "docker", "sqlalchemy"}


@pytest.mark.parametrize(
    ("arguments", "loaded"),
    [
        (["--version"], set()),
        (["--help"], set()),
        *[([noun, "--help"], set()) for noun in ("user", "key", "env", "image", "ban", "db")],
        (["user", "list"], {"sqlalchemy"}),
        (["key", "list", "alice"], {"sqlalchemy"}),
        (["ban", "list"], {"sqlalchemy"}),
        (["env", "list"], {"docker", "sqlalchemy"}),
    ],
)
def test_a_command_loads_only_what_it_uses(
    installation: Path, arguments: list[str], loaded: set[str]
) -> None:
    program = (
        "import sys\nfrom rootblood.cli.main import main\n"
        f"try: main()\nfinally: sys.stderr.write(' '.join(['loaded', *{HEAVY} & sys.modules.keys()]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        check=False,
        capture_output=True,
        cwd=installation,
        text=True,
    )

    assert {"loaded", *loaded} == set(done.stderr.splitlines()[-1].split())


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_of_commands_says_what_each_says_itself(name: str) -> None:
    assert COMMANDS[name].help == load_command(name).get_short_help_str(limit=200)
