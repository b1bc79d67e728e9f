"""`reset-dotfiles`: the old ones are kept, links are not followed, and nothing is written over."""

import re

import pytest

from tests.image.conftest import Environment

RESET = "/usr/lib/rootblood/reset-dotfiles"
NEW_HOME = (
    'cd /; [ ! -d "$HOME" ] || chmod -R u+w "$HOME"; rm -rf "$HOME"; mkdir -m 700 "$HOME" && cd "$HOME" && '
)


def in_new_home(environment: Environment, script: str) -> str:
    done = environment.exec("sh", "-c", NEW_HOME + script)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def look(environment: Environment, script: str) -> str:
    done = environment.exec("sh", "-c", 'cd "$HOME" && ' + script)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def reset(environment: Environment) -> tuple[int, list[str]]:
    done = environment.exec(RESET)
    assert done.stderr == ""
    return done.returncode, done.stdout.splitlines()


def kept_in(said: list[str]) -> str:
    kept = re.match(r"moved to ~/(dotfiles-20\d\d-\d\d-\d\dT\d{6}Z\+*):", said[0])
    assert kept is not None, said
    return kept[1]


def test_old_files_are_kept_and_new_ones_laid_down(environment: Environment) -> None:
    in_new_home(
        environment,
        "echo bad >.bashrc; echo bad >.inputrc; mkdir -p .config/rootblood .config/other;"
        "echo plain >.config/rootblood/shell; echo mine >.vimrc; echo mine >.config/other/x",
    )
    status, said = reset(environment)
    assert (status, said[1:]) == (0, ["new: .bash_logout .bashrc .profile", "done"])
    kept = kept_in(said)
    assert said[0].endswith(": .bashrc .inputrc .config/rootblood")
    assert (
        look(environment, f"cat {kept}/.bashrc {kept}/.inputrc {kept}/.config/rootblood/shell")
        == "bad\nbad\nplain\n"
    )
    assert look(environment, "cat .vimrc .config/other/x; stat -c %a .bashrc") == "mine\nmine\n644\n"
    assert look(environment, "for f in $(ls -A /etc/skel); do cmp /etc/skel/$f $f; done") == ""
    assert kept in look(environment, "ls -A").split()
    assert len(look(environment, "ls -A").split()) == len(
        [kept, ".config", ".vimrc", ".bashrc", ".profile", ".bash_logout"]
    )


def test_each_reset_has_a_directory_of_its_own(environment: Environment) -> None:
    in_new_home(environment, "true")
    assert reset(environment) == (
        0,
        ["there was nothing to move", "new: .bash_logout .bashrc .profile", "done"],
    )
    directories = {kept_in(reset(environment)[1]) for _ in range(4)}
    assert len(directories) == 4
    assert set(look(environment, "ls -d dotfiles-*").split()) == directories


def test_links_are_moved_and_not_followed(environment: Environment) -> None:
    in_new_home(
        environment,
        "mkdir away elsewhere; echo mine >away/bashrc; mkdir elsewhere/rootblood; ln -s away/bashrc .bashrc;"
        "ln -s nowhere .profile; ln -s elsewhere .config; mkfifo .inputrc; mkdir .tmux.conf",
    )
    status, said = reset(environment)
    assert status == 0
    kept = kept_in(said)
    assert said[0].endswith(": .bashrc .profile .inputrc .tmux.conf")
    assert look(
        environment,
        f"readlink {kept}/.bashrc {kept}/.profile; cat away/bashrc; ls elsewhere; ls -A nowhere 2>&1 || true",
    ) == ("away/bashrc\nnowhere\nmine\nrootblood\nls: cannot access 'nowhere': No such file or directory\n")
    assert look(environment, "[ -f .bashrc ] && [ ! -L .bashrc ] && readlink .config") == "elsewhere\n"


def test_what_lies_in_wait_under_the_new_name_is_not_entered(environment: Environment) -> None:
    in_new_home(
        environment,
        "echo bad >.bashrc; mkdir trap; now=$(date -u +%s);"
        "for s in $(seq 0 99); do"
        " ln -s trap dotfiles-$(date -u -d @$((now + s)) +%Y-%m-%dT%H%M%SZ); done",
    )
    status, said = reset(environment)
    assert (status, kept_in(said)[-1]) == (0, "+")
    assert look(environment, "ls -A trap") == ""


@pytest.mark.parametrize(
    ("spoil", "cause"),
    [
        ("chmod 500 .", "nothing can be written to your home"),
        ('cd / && rmdir "$HOME"', "there is no home yet; the first login makes it"),
    ],
)
def test_what_cannot_be_done_is_said_in_the_last_line(
    environment: Environment, spoil: str, cause: str
) -> None:
    in_new_home(environment, spoil)
    assert reset(environment) == (1, [cause])


def test_programs_of_the_account_have_no_part_in_it(environment: Environment) -> None:
    in_new_home(
        environment,
        "mkdir bin; printf '#!/bin/sh\\necho fake >~/faked\\n' >bin/mv; chmod +x bin/mv; echo bad >.bashrc",
    )
    done = environment.exec(RESET, options=("--env", f"PATH={environment.account.home}/bin:/usr/bin:/bin"))
    assert done.returncode == 0
    assert look(environment, "[ ! -e faked ] && echo no") == "no\n"
