"""greet: what a new terminal shows, and `shell`, which has it shown."""

from tests.image.conftest import Environment

GREET = "/usr/lib/rootblood/greet"
SHELL = "/usr/lib/rootblood/shell"


def greeted(environment: Environment, **variables: str) -> str:
    options = [word for name, value in variables.items() for word in ("--env", f"{name}={value}")]
    result = environment.exec(GREET, options=tuple(options))
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout


def motd(environment: Environment) -> str:
    return environment.exec("cat", "/etc/motd").stdout


def test_the_image_s_own_message_is_shown_where_there_is_no_other(environment: Environment) -> None:
    assert greeted(environment) == motd(environment)
    assert "Welcome to RootBlood" in motd(environment)


def test_another_message_takes_its_place_even_an_empty_one(environment: Environment) -> None:
    for text in ("one\n\ttwo\n\n", ""):
        assert greeted(environment, ROOTBLOOD_MOTD=text) == text


def test_the_notice_comes_last(environment: Environment) -> None:
    notice = "Last login: yesterday\nrootblood: it was stopped"

    assert greeted(environment, ROOTBLOOD_NOTICE=notice) == f"{motd(environment)}{notice}\n"
    assert greeted(environment, ROOTBLOOD_MOTD="hi\n", ROOTBLOOD_NOTICE=notice) == f"hi\n{notice}\n"


def test_what_looks_like_a_format_or_an_option_is_shown_as_it_is(environment: Environment) -> None:
    for text in ("-n %s %d \\n \\c\n", "-e \\033[31m\n", "$(id) `id` *\n"):
        assert greeted(environment, ROOTBLOOD_MOTD=text, ROOTBLOOD_NOTICE=text) == f"{text}{text}\n"


def test_a_message_of_the_largest_size_is_shown(environment: Environment) -> None:
    text = "x" * 31_999 + "\n"

    assert greeted(environment, ROOTBLOOD_MOTD=text, ROOTBLOOD_NOTICE="") == text


def test_hushlogin_silences_everything(environment: Environment) -> None:
    environment.ssh("touch ~/.hushlogin")
    try:
        assert greeted(environment, ROOTBLOOD_MOTD="hi\n", ROOTBLOOD_NOTICE="ho") == ""
        assert greeted(environment) == ""
    finally:
        environment.ssh("rm ~/.hushlogin")


def test_nothing_of_the_path_is_run(environment: Environment) -> None:
    fake = (
        'mkdir -p /tmp/fakes && printf "#!/bin/sh\\necho fake\\n" >/tmp/fakes/cat && chmod +x /tmp/fakes/cat'
    )
    assert environment.exec("sh", "-c", fake).returncode == 0

    assert greeted(environment, PATH="/tmp/fakes:/usr/bin:/bin") == motd(environment)


def test_shell_greets_and_becomes_a_login_shell_without_what_greeted_it(environment: Environment) -> None:
    command = f"SHLVL=1 ROOTBLOOD_MOTD=hi ROOTBLOOD_NOTICE=ho exec {SHELL}"
    script = (
        b"shopt -q login_shell && echo a login shell; env | grep -c ROOTBLOOD_; echo level $SHLVL; exit 5\n"
    )

    result = environment.ssh(command, stdin=script)

    assert (5, b"hiho\na login shell\n0\nlevel 1\n") == (result.returncode, result.stdout)
