"""/metrics of the real server, scraped as Prometheus does."""

import urllib.error
import urllib.request

from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.conftest import client_of
from tests.e2e.installation import CLIENT_TIMEOUT_S, Installation, free_port, wait_until
from tests.e2e.test_auth import with_password


def fetch(url: str, **headers: str) -> tuple[int, str]:
    request = urllib.request.Request(url, headers=headers)  # noqa: S310 - the server's own
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def scrape(url: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    status, text = fetch(url)
    assert 200 == status
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_what_happens_is_counted(own_installation: Installation) -> None:
    with own_installation.serving(ROOTBLOOD_METRICS__PORT=str(free_port())) as server:
        url = server.metrics_url
        assert url is not None
        before = scrape(url)
        alice = client_of(own_installation, server, "alice")
        assert 0 != with_password(own_installation, server, "alice", "wrong password").returncode
        with alice.open("echo in; exec cat") as held:
            assert held.stdout is not None
            assert b"in\n" == held.stdout.readline()
            assert (200, "ok\n") == fetch(f"{server.web_url}/healthz")
            wait_until(lambda: 1 == scrape(url)["rootblood_connections_open", frozenset({("door", "ssh")})])
            found = scrape(url)
        text = str(found)

        def value(name: str, **labels: str) -> float | None:
            return found.get((name, frozenset(labels.items())))

        assert 0 == before["rootblood_connections_open", frozenset({("door", "ssh")})]
        assert 1 == value("rootblood_connections_open", door="ssh")
        assert 1 == value("rootblood_sessions_open", door="ssh")
        assert 2 == value("rootblood_connections_total", door="ssh")
        assert 1 == value("rootblood_logins_total", door="ssh", outcome="accepted")
        assert (value("rootblood_logins_total", door="ssh", outcome="refused") or 0) >= 1
        assert 1 == value("rootblood_link_opening_seconds_count", outcome="opened")
        assert 0 < (value("rootblood_link_opening_seconds_sum", outcome="opened") or 0) < CLIENT_TIMEOUT_S
        assert 1 == value("rootblood_http_responses_total", route="/healthz", status="200")
        assert 1 == value("rootblood_engine_up")
        assert (value("process_resident_memory_bytes") or 0) > 2**20
        assert "alice" not in text
        assert own_installation.userhash("alice") not in text

        # It is nowhere else, and the doors do not have it.
        assert 404 == fetch(f"{server.web_url}/metrics")[0]
        assert 421 == fetch(url, Host="evil.test")[0]


def test_the_ready_line_tells_a_port_that_the_system_chose(own_installation: Installation) -> None:
    own_installation.extra_env["ROOTBLOOD_METRICS__PORT"] = "0"
    with own_installation.serving() as server:
        assert server.metrics_url is not None
        assert scrape(server.metrics_url)
    doctor = own_installation.cli_json("doctor")
    assert ["metrics"] == [finding["check"] for finding in doctor if finding["check"] == "metrics"]


def test_another_address_than_loopback_has_to_be_meant(own_installation: Installation) -> None:
    own_installation.extra_env |= {"ROOTBLOOD_METRICS__PORT": "0", "ROOTBLOOD_METRICS__HOST": "192.0.2.1"}

    done = own_installation.cli("serve", check=False)

    assert (1, True) == (done.returncode, "set metrics.allow_remote" in done.stderr)
