"""What the image promises whatever runs on it: its user, its layout, and that it keeps no secret."""

import pytest

from rootblood.domain.accounts import is_reserved
from tests.image.conftest import HARDENED, IMAGE, docker_ok

ANY_UID = "31337:31337"


def run(script: str, *options: str) -> str:
    """What a shell script says in a fresh container."""
    return docker_ok("run", "--rm", *HARDENED, *options, IMAGE, "bash", "-c", script)


def test_default_user_is_appuser() -> None:
    assert run("echo $(id -un) $(id -u)") == "appuser 1000\n"


def test_does_nothing_by_default() -> None:
    command = docker_ok("image", "inspect", "--format", "{{json .Config.Cmd}}{{.Config.Entrypoint}}", IMAGE)
    assert command == '["/usr/lib/rootblood/idle"][]\n'


def test_no_private_key_is_shipped() -> None:
    keys = "grep -rlsIE -e '^-----BEGIN [A-Z ]*PRIVATE KEY-----' /etc /home /opt /root /srv /usr /var"
    assert run(f"{keys}; ls /etc/ssh/ssh_host_* 2>/dev/null; true", "--user", "0:0") == ""


def test_no_program_raises_privileges() -> None:
    assert run("find / -xdev -type f -perm /6000", "--user", "0:0", "--cap-add", "DAC_OVERRIDE") == ""


def test_nothing_but_home_and_temporary_directories_is_writable() -> None:
    # By their modes alone, so on a writable root. /dev and /proc are the engine's; /run is mounted over.
    find = "find / -xdev -writable ! -type l ! -path '/dev/*' ! -path '/proc/*' ! -path '/run/*' 2>/dev/null"
    writable = docker_ok("run", "--rm", "--user", ANY_UID, IMAGE, "sh", "-c", f"{find}; true")
    assert sorted(writable.split()) == ["/home", "/tmp"]


def test_directories_that_volumes_are_mounted_on_are_empty_and_have_their_modes() -> None:
    expected = {"/home": "1777 root:root", "/global": "3755 root:root", "/etc/rootblood": "755 root:root"}
    listing = run(f"stat -c '%n %a %U:%G' {' '.join(expected)}; find {' '.join(expected)} -mindepth 1")
    assert expected == dict(line.split(" ", 1) for line in listing.splitlines())


def test_links_lead_to_what_is_mounted() -> None:
    assert run("readlink /var/lib/extrausers /var/tmp") == "/etc/rootblood\n/tmp\n"


@pytest.mark.parametrize("database", ["passwd", "group", "shadow"])
def test_names_come_from_the_system_volume_after_the_image(database: str) -> None:
    assert f"{database}: files extrausers\n" == run(f"grep '^{database}:' /etc/nsswitch.conf")


def test_every_name_of_the_image_is_reserved() -> None:
    names = run("cut -d: -f1 /etc/passwd /etc/group").split()
    assert [name for name in names if not name.startswith("_") and not is_reserved(name)] == []


@pytest.mark.parametrize(
    "command",
    [
        *(
            "git --version",
            "tmux -V",
            "nvim --version",
            "vim --version",
            "ttyd --version",
            "rsync --version",
        ),
        *(
            "python3 --version",
            "curl --version",
            "less --version",
            "ps --version",
            "locale -a",
            "nano --version",
        ),
    ],
)
def test_program_runs_as_any_uid_on_a_read_only_root(command: str) -> None:
    assert run(f"{command} 2>&1", "--user", ANY_UID)


def test_ttyd_is_the_version_whose_protocol_we_speak() -> None:
    assert "ttyd version 1.7.7" in run("ttyd --version")


def test_man_pages_are_there() -> None:
    pages = run("man -P cat ls | head -n 1; man -P cat tmux | head -n 1; man -P cat git-log | head -n 1")
    assert [line.split()[0] for line in pages.splitlines()] == ["LS(1)", "TMUX(1)", "GIT-LOG(1)"]


@pytest.mark.parametrize("terminal", ["xterm-256color", "tmux-256color", "xterm-kitty", "alacritty", "foot"])
def test_terminal_is_known(terminal: str) -> None:
    assert run(f"infocmp {terminal}")


def test_utf8_is_the_default_and_english_is_there() -> None:
    assert run("echo $(locale charmap) $(LANG=en_US.UTF-8 locale charmap)") == "UTF-8 UTF-8\n"


def test_package_sources_name_one_suite() -> None:
    """The suite that ttyd came from is not left behind: an operator's own build must not upgrade to it."""
    assert run("grep -rl forky /etc/apt; ls /etc/apt/preferences.d; ls /var/lib/apt/lists; true") == ""


def test_our_own_files_are_roots_and_on_no_path() -> None:
    listing = run("stat -c '%U:%G %a %n' /usr/lib/rootblood /usr/lib/rootblood/*; echo $PATH")
    *files, path = listing.splitlines()
    assert files == [
        "root:root 755 /usr/lib/rootblood",
        "root:root 644 /usr/lib/rootblood/command-env.sh",
        "root:root 644 /usr/lib/rootblood/complaints.py",
        "root:root 755 /usr/lib/rootblood/enter",
        "root:root 755 /usr/lib/rootblood/export",
        "root:root 755 /usr/lib/rootblood/greet",
        "root:root 755 /usr/lib/rootblood/idle",
        "root:root 755 /usr/lib/rootblood/import",
        "root:root 755 /usr/lib/rootblood/install-system",
        "root:root 644 /usr/lib/rootblood/locale.sh",
        "root:root 755 /usr/lib/rootblood/reset-dotfiles",
        "root:root 644 /usr/lib/rootblood/session.conf",
        "root:root 755 /usr/lib/rootblood/shell",
        "root:root 644 /usr/lib/rootblood/sshd_config",
        "root:root 755 /usr/lib/rootblood/web-terminal",
    ]
    assert "rootblood" not in path
