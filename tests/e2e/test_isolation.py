"""What an environment can reach and what not, told from inside it by ssh and from outside by Docker."""

import contextlib
import re
import socket
import threading
from collections.abc import Iterator
from ipaddress import ip_network
from typing import Any

import pytest

from rootblood.domain.environments import container_name, network_name
from rootblood.engines.docker.direct import SOCKET_DIRECTORY
from tests.e2e.installation import Client, Installation, docker_api, wait_until

MIB = 1024 * 1024
LATER = "environments reach the network's own side for now: closed by the later work on security"

PROBE = """
import socket, sys
try:
    socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=3).close()
except OSError as error:
    print("no:", error)
else:
    print("reached")
"""

FORK = """
import os, signal
children = []
try:
    for _ in range(2000):
        child = os.fork()
        if child == 0:
            signal.pause()
        children.append(child)
    print("no limit")
except BlockingIOError:
    print("limit at", len(children))
finally:
    for child in children:
        os.kill(child, signal.SIGKILL)
    for child in children:
        os.waitpid(child, 0)
"""


def reached(client: Client, host: str, port: int) -> bool:
    """Whether a TCP connection from the client's environment comes about."""
    return "reached" == client.output(f"python3 - {host} {port}", stdin=PROBE.encode()).split("\n")[0]


def inspected(installation: Installation, name: str) -> Any:
    with docker_api() as api:
        return api.inspect_container(container_name(installation.userhash(name)))


def first_of(client: Client, *paths: str) -> str:
    """What the first of these files that is there says: cgroup v1 and v2 have different ones."""
    return client.output("cat {} 2>/dev/null | head -n 1; true".format(" ".join(paths))).strip()


# Who it is.


def test_processes_have_no_capability_and_cannot_gain_any(alice: Client) -> None:
    status = dict(line.split(":\t", 1) for line in alice.output("cat /proc/self/status").splitlines())
    expected = {f"Cap{kind}": "0000000000000000" for kind in ("Inh", "Prm", "Eff", "Bnd", "Amb")}
    expected |= {"NoNewPrivs": "1", "Seccomp": "2"}
    assert expected == {key: status[key] for key in expected}


def test_every_account_has_a_uid_of_its_own(alice: Client, bob: Client) -> None:
    uids = {client.name: int(client.output("id -u")) for client in (alice, bob)}
    assert all(uid >= 20000 for uid in uids.values())
    assert uids["alice"] != uids["bob"]
    for client in (alice, bob):
        number = f"{uids[client.name]}({client.name})"
        assert f"uid={number} gid={number} groups={number}\n" == client.output("id")


def test_the_first_process_is_the_account_s_too(alice: Client) -> None:
    assert "alice" == alice.output("stat -c %U /proc/1").strip()


@pytest.mark.parametrize(
    "attempt",
    [
        "su -c true </dev/null",
        "mount -t tmpfs none /tmp",
        "chroot / true",
        "unshare --user --map-root-user true",
        "chown root ~",
        "python3 -c 'import os; os.setuid(0)'",
        "nice -n -5 true 2>&1 | grep -q denied && false",
    ],
)
def test_privileged_programs_gain_nothing(alice: Client, attempt: str) -> None:
    assert 0 != alice.run(attempt).returncode


def test_the_image_has_no_setuid_program(alice: Client) -> None:
    assert "" == alice.output("find / -xdev -type f -perm /6000 2>/dev/null; true")


# What it can write.


@pytest.mark.parametrize("path", ["/", "/usr", "/usr/bin", "/etc", "/var", "/root", "/boot", "/home/.."])
def test_the_root_filesystem_is_read_only(alice: Client, path: str) -> None:
    done = alice.run(f"touch {path}/new")
    assert 1 == done.returncode
    assert re.search(rb"Read-only file system|Permission denied", done.stderr)


def test_no_file_outside_of_the_volumes_can_be_written(alice: Client) -> None:
    writable = alice.output("find / -xdev -writable -not -type l 2>/dev/null | sort")
    assert "/home\n/run\n/tmp\n" == writable  # where volumes are mounted


def test_the_home_is_the_account_s_alone(alice: Client, installation: Installation) -> None:
    userhash = installation.userhash("alice")
    assert f"/home/{userhash}\n" == alice.output("pwd")
    assert "alice:alice:700\n" == alice.output("stat -c %U:%G:%a ~")
    alice.output("touch ~/isolation && rm ~/isolation")
    assert f"{userhash}\n" == alice.output("ls -A /home")


def test_tmp_and_run_are_small_and_in_memory(alice: Client) -> None:
    assert "tmpfs 256M\ntmpfs 16M\n" == alice.output(
        "for d in /tmp /run; do df -h --output=fstype,size $d | tail -n 1 | tr -s ' '; done"
    )
    assert b"No space left on device" in alice.run("head -c 20M /dev/zero >/run/big; rm /run/big").stderr
    for directory in ("/tmp", "/run"):
        alice.output(f"touch {directory}/isolation && rm {directory}/isolation")


def test_the_system_volume_can_be_read_and_not_written(alice: Client) -> None:
    assert "alice\n" == alice.output("grep ^alice: /etc/rootblood/passwd | cut -d: -f1")
    for attempt in (
        "touch /etc/rootblood/new",
        "echo x >>/etc/rootblood/passwd",
        "rm -f /etc/rootblood/passwd",
    ):
        assert 0 != alice.run(attempt).returncode, attempt
    assert "ro\n" == alice.output("findmnt -no OPTIONS /etc/rootblood | cut -d, -f1")


def test_the_shared_directory_is_everybody_s_to_read_and_one_s_to_write(alice: Client, bob: Client) -> None:
    assert (
        "root:3755 alice:3755 bob:3755"
        == bob.output("echo $(stat -c %U:%a /global /global/alice /global/bob)").strip()
    )
    alice.output("echo hi >/global/alice/note")
    assert "hi\n" == bob.output("cat /global/alice/note")
    for attempt in (
        "touch /global/alice/new",
        "echo x >/global/alice/note",
        "rm -f /global/alice/note",
        "rmdir /global/alice",
        "rm -rf /global/alice",
        "mv /global/alice /global/gone",
        "mv -T /global/bob /global/alice",
        "ln -sfn /tmp /global/alice",
        "mkdir /global/new",
        "chmod 777 /global/alice",
        "touch /global/new",
    ):
        assert 0 != bob.run(attempt).returncode, attempt
    assert "hi\n" == alice.output("cat /global/alice/note && rm /global/alice/note")


# What it can see.


def test_nothing_of_the_host_is_mounted(alice: Client, installation: Installation) -> None:
    userhash = installation.userhash("alice")
    binds = {}
    for line in alice.output("cat /proc/self/mountinfo").splitlines():
        fields, _, rest = line.partition(" - ")
        root, point = fields.split()[3:5]
        if rest.split()[0] not in (
            "proc",
            "sysfs",
            "tmpfs",
            "devpts",
            "mqueue",
            "cgroup",
            "cgroup2",
            "overlay",
        ):
            binds[point] = root
    program = binds.pop("/sbin/docker-init", None) or binds.pop("/usr/sbin/docker-init")
    assert re.search(r"tini|docker-init", program)
    ends = {
        "/home": f"/home_{userhash}/_data",
        "/global": f"/rb_{installation.instance}_global/_data",
        "/etc/rootblood": f"/rb_{installation.instance}_system/_data",
        SOCKET_DIRECTORY: f"/state/sockets/{userhash}",
        "/etc/resolv.conf": "/resolv.conf",
        "/etc/hostname": "/hostname",
        "/etc/hosts": "/hosts",
    }
    assert set(ends) == set(binds)
    assert all(binds[point].endswith(end) for point, end in ends.items())


def test_there_is_no_way_to_the_engine(alice: Client) -> None:
    sockets = alice.output(
        "find / \\( -name 'docker*.sock' -o -name 'containerd*.sock' \\) 2>/dev/null; true"
    )
    assert "" == sockets
    assert "" == alice.output("env | grep -i docker; true")


def test_no_process_of_anybody_else_is_visible(alice: Client, bob: Client) -> None:
    bob.output("true")
    assert "alice\n" == alice.output("stat -c %U /proc/[0-9]* 2>/dev/null | sort -u")


def test_docker_says_the_same(alice: Client, installation: Installation) -> None:
    alice.output("true")
    details = inspected(installation, "alice")
    host = details["HostConfig"]
    expected: dict[str, Any] = {
        "Privileged": False,
        "ReadonlyRootfs": True,
        "CapAdd": None,
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges:true"],
        "Memory": 1024 * MIB,
        "MemorySwap": 1024 * MIB,
        "NanoCpus": 10**9,
        "PidsLimit": 512,
        "PidMode": "",
        "Binds": None,
        "PublishAllPorts": False,
        "NetworkMode": network_name(installation.instance),
    }
    assert expected == {key: host[key] for key in expected}
    assert not host["PortBindings"]
    assert not any(details["NetworkSettings"]["Ports"].values())
    binds = [mount for mount in details["Mounts"] if mount["Type"] != "volume"]
    assert [(SOCKET_DIRECTORY, False)] == [(mount["Destination"], mount["RW"]) for mount in binds]
    assert [network_name(installation.instance)] == list(details["NetworkSettings"]["Networks"])


# What it can use.


def test_memory_cpu_and_processes_are_limited(alice: Client) -> None:
    base = "/sys/fs/cgroup"
    memory = first_of(alice, f"{base}/memory/memory.limit_in_bytes", f"{base}/memory.max")
    processes = first_of(alice, f"{base}/pids/pids.max", f"{base}/pids.max")
    quota = first_of(alice, f"{base}/cpu/cpu.cfs_quota_us", f"{base}/cpu.max").split()[0]
    assert (str(1024 * MIB), "512", "100000") == (memory, processes, quota)


def test_the_limit_of_processes_is_hit_and_the_next_login_works(alice: Client) -> None:
    limit = re.fullmatch(r"limit at (\d+)\n", alice.output("exec python3 -", stdin=FORK.encode()))
    assert limit is not None
    assert 400 < int(limit[1]) < 512
    assert "ok\n" == alice.output("echo ok")


# Whom it can reach.


def test_a_neighbour_s_port_cannot_be_reached(alice: Client, bob: Client, installation: Installation) -> None:
    bob.output("true")
    networks = inspected(installation, "bob")["NetworkSettings"]["Networks"]
    address = networks[network_name(installation.instance)]["IPAddress"]
    with bob.open("exec python3 -m http.server 8000 --bind 0.0.0.0 2>/dev/null"):
        wait_until(lambda: reached(bob, address, 8000), what="bob's own server answering bob")
        assert not reached(alice, address, 8000)


@contextlib.contextmanager
def listening(address: str) -> Iterator[int]:
    """A port of the host that accepts on this address."""
    with socket.create_server((address, 0)) as server:
        server.settimeout(0.2)
        done = threading.Event()

        def accept() -> None:
            while not done.is_set():
                with contextlib.suppress(TimeoutError):
                    server.accept()[0].close()

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            done.set()
            thread.join()


def test_the_host_cannot_be_reached_over_the_bridge(alice: Client, installation: Installation) -> None:
    alice.output("true")
    gateway = str(next(ip_network(installation.subnet).hosts()))
    with listening(gateway) as port:
        socket.create_connection((gateway, port), timeout=30).close()
        if reached(alice, gateway, port):
            pytest.skip(f"a port of the host on the bridge's gateway was reached; {LATER}")


def test_the_metadata_address_does_not_answer(alice: Client) -> None:
    if reached(alice, "169.254.169.254", 80):
        pytest.skip(f"169.254.169.254 was reached; {LATER}")
