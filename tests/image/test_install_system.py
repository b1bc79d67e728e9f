"""install-system: what it writes, what it refuses, and that users of /global cannot turn it on others."""

import json

import pytest

from tests.image.conftest import IMAGE, Account, Volumes, docker

ALICE = Account("alice", 20001, "/home/" + "a" * 32)
BOB = Account("bob", 20002, "/home/" + "b" * 32)


def refusal(volumes: Volumes, document: object) -> str:
    """The one line that a refused document gets."""
    result = volumes.install(document)
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.startswith("install-system: ")
    assert result.stderr.count("\n") == 1
    return result.stderr.removeprefix("install-system: ").rstrip("\n")


def test_first_installation_writes_files_names_and_directories(volumes: Volumes) -> None:
    files = {"ssh_host_ed25519_key": "a host key\n", "authorized_keys": "a key\n"}
    assert volumes.install_ok({"files": files, "accounts": [ALICE.document(), BOB.document()]})

    assert volumes.look(
        "cd /etc/rootblood && cat passwd group shadow ssh_host_ed25519_key authorized_keys"
    ) == (
        "alice:x:20001:20001::/home/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa:/bin/bash\n"
        "bob:x:20002:20002::/home/bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb:/bin/bash\n"
        "alice:x:20001:\nbob:x:20002:\n"
        "alice:*:1:0:99999:7:::\nbob:*:1:0:99999:7:::\n"
        "a host key\na key\n"
    )
    assert volumes.look("cd /etc/rootblood && stat -c '%U:%G %a %n' *") == (
        "root:root 644 authorized_keys\nroot:root 644 group\nroot:root 644 passwd\n"
        "root:root 644 shadow\nroot:root 644 ssh_host_ed25519_key\n"
    )
    assert (
        volumes.look("stat -c '%U:%G %a %n' /global /global/*")
        == "root:root 3755 /global\nalice:alice 3755 /global/alice\nbob:bob 3755 /global/bob\n"
    )


def test_second_time_changes_nothing(volumes: Volumes) -> None:
    document = {"files": {"authorized_keys": "a key\n"}, "accounts": [ALICE.document()]}
    assert volumes.install_ok(document)
    before = volumes.look("stat -c '%i %Z %n' /etc/rootblood/* /global /global/*")
    assert not volumes.install_ok(document)
    assert not volumes.install_ok({})
    assert before == volumes.look("stat -c '%i %Z %n' /etc/rootblood/* /global /global/*")


def test_accounts_are_added_to_those_already_there(volumes: Volumes) -> None:
    volumes.install_ok({"accounts": [ALICE.document()]})
    assert volumes.install_ok({"accounts": [BOB.document()]})
    assert volumes.look("cut -d: -f1 /etc/rootblood/passwd") == "alice\nbob\n"


def test_another_installation_s_volume_is_left_alone(volumes: Volumes) -> None:
    volumes.install_ok({"files": {"authorized_keys": "theirs\n"}})
    refused = volumes.install({"files": {"authorized_keys": "ours\n"}, "accounts": [ALICE.document()]})
    assert refused.returncode == 1
    assert "authorized_keys there is another installation's" in refused.stderr
    assert volumes.look("cat /etc/rootblood/authorized_keys /etc/rootblood/passwd") == "theirs\n"


@pytest.mark.parametrize(
    ("account", "message"),
    [
        (ALICE.document(uid=20009), "alice is there already"),
        (ALICE.document(home=BOB.home), "alice is there already"),
        (BOB.document(uid=ALICE.uid), "uid 20001 of bob belongs to alice"),
        (BOB.document(gid=ALICE.uid), "gid 20001 of bob belongs to alice"),
        (BOB.document(home=ALICE.home), "of bob belongs to alice"),
        (BOB.document(name="games"), "games is a name of the image's own"),
    ],
)
def test_conflicting_account_is_refused_and_nothing_is_written(
    volumes: Volumes, account: dict[str, object], message: str
) -> None:
    volumes.install_ok({"accounts": [ALICE.document()]})
    carol = Account("carol", 20003).document()
    assert message in refusal(volumes, {"files": {"authorized_keys": "x\n"}, "accounts": [carol, account]})
    assert (
        volumes.look("ls -d /etc/rootblood/* /global/*")
        == "/etc/rootblood/group\n/etc/rootblood/passwd\n/etc/rootblood/shadow\n/global/alice\n"
    )
    assert volumes.look("cut -d: -f1 /etc/rootblood/passwd") == "alice\n"


@pytest.mark.parametrize(
    "account",
    [
        ALICE.document(name="../bob"),
        ALICE.document(name="Alice"),
        ALICE.document(name="alice\n"),
        ALICE.document(name="a" * 33),
        ALICE.document(name=""),
        ALICE.document(name=None),
        ALICE.document(uid=0),
        ALICE.document(uid=True),
        ALICE.document(uid="20001"),
        ALICE.document(uid=20001.0),
        ALICE.document(gid=-1),
        ALICE.document(home="/home/../" + "a" * 32),
        ALICE.document(home="/home/" + "A" * 32),
        ALICE.document(home="/home/" + "a" * 32 + "\n"),
        ALICE.document() | {"shell": "bash"},
        ALICE.document() | {"shell": "/bin/bash:x"},
        ALICE.document() | {"shell": "/bin/../bash"},
        ALICE.document(extra=1),
        {"name": "alice"},
        "alice",
    ],
)
def test_invalid_account_is_refused(volumes: Volumes, account: object) -> None:
    assert refusal(volumes, {"accounts": [account]})
    assert volumes.look("ls /etc/rootblood /global | grep -v : || true").strip() == ""


@pytest.mark.parametrize(
    "document",
    [
        "",
        "not JSON",
        "[]",
        "{} {}",
        '{"files": {"authorized_keys": "\\ud800"}}',
        {"file": {}},
        {"files": []},
        {"files": {"passwd": "x"}},
        {"files": {"../x": "x"}},
        {"files": {"authorized_keys": 1}},
        {"files": {"authorized_keys": ""}},
        {"files": {"authorized_keys": "x" * 70_000}},
        {"accounts": {}},
    ],
)
def test_invalid_document_is_refused(volumes: Volumes, document: object) -> None:
    assert refusal(volumes, document)


def test_link_in_global_is_not_followed(volumes: Volumes) -> None:
    volumes.look("mkdir /etc/rootblood/target && ln -s /etc/rootblood/target /global/alice")
    assert refusal(volumes, {"accounts": [ALICE.document()]}) == "/global/alice is there and not a directory"
    assert volumes.look("stat -c '%U:%G %a' /etc/rootblood/target") == "root:root 755\n"


def test_directory_of_another_is_not_taken(volumes: Volumes) -> None:
    volumes.look("mkdir -m 700 /global/alice && chown 20002:20002 /global/alice")
    assert "belongs to UID 20002" in refusal(volumes, {"accounts": [ALICE.document()]})
    assert volumes.look("stat -c '%u:%g %a' /global/alice") == "20002:20002 2700\n"


def test_directory_of_the_account_keeps_the_mode_its_owner_chose(volumes: Volumes) -> None:
    volumes.install_ok({"accounts": [ALICE.document()]})
    volumes.look("chmod 700 /global/alice")
    assert not volumes.install_ok({"accounts": [ALICE.document()]})
    assert volumes.look("stat -c %a /global/alice") == "700\n"


def test_directory_that_a_crash_left_to_root_is_handed_over(volumes: Volumes) -> None:
    volumes.look("mkdir -m 700 /global/alice")
    assert volumes.install_ok({"accounts": [ALICE.document()]})
    assert volumes.look("stat -c '%U:%G %a' /global/alice") == "alice:alice 3755\n"


def test_lines_that_a_crash_left_without_passwd_are_replaced(volumes: Volumes) -> None:
    volumes.look(
        "cd /etc/rootblood; echo alice:x:666: >group; echo 'alice:x:1::::::' >shadow; echo rest >.group.new"
    )
    assert volumes.install_ok({"accounts": [ALICE.document()]})
    assert volumes.look("cd /etc/rootblood && cat group shadow") == "alice:x:20001:\nalice:*:1:0:99999:7:::\n"


def test_runs_at_once_lose_nothing(volumes: Volumes) -> None:
    accounts = [Account(f"user{number}", 21000 + number) for number in range(8)]
    # One container, so that they truly meet.
    documents = [json.dumps({"accounts": [account.document()]}) for account in accounts]
    runs = [f"echo '{document}' | /usr/lib/rootblood/install-system >/dev/null &" for document in documents]
    volumes.look(" ".join([*runs, "wait"]))
    names = "".join(f"{account.name}\n" for account in accounts)
    assert names == volumes.look("cut -d: -f1 /etc/rootblood/passwd | sort")
    assert names == volumes.look("cut -d: -f1 /etc/rootblood/group | sort")
    assert names == volumes.look("ls /global")


def test_account_cannot_touch_what_is_anothers(volumes: Volumes) -> None:
    volumes.install_ok({"accounts": [ALICE.document(), BOB.document()]})
    attempts = (
        "mkdir /global/new; rm -rf /global/alice; mv /global/alice /global/bob/; touch /global/alice/x; "
        "chmod 777 /global; ls /global/alice >/dev/null && echo readable; touch /global/bob/mine && echo mine"
    )
    result = docker(
        *(
            "run",
            "--rm",
            "--user",
            "20002:20002",
            "--volume",
            f"{volumes.shared}:/global",
            IMAGE,
            "sh",
            "-c",
            attempts,
        )
    )
    assert result.stdout == "readable\nmine\n"
    assert volumes.look("find /global -mindepth 1 | sort") == "/global/alice\n/global/bob\n/global/bob/mine\n"
