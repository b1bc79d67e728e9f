"""Docker's answers, read: shapes that the engine of the test machine may not give."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from rootblood.engines.docker.reading import Sample, processes_of, sample_of, usage_between

AT = datetime(2026, 11, 23, 18, 4, 5, tzinfo=UTC)
SAMPLE = Sample(at=AT, cpu_ns=1_000_000_000, memory_bytes=1000, pids=5)


def answer(read: str, stats: dict[str, int]) -> dict[str, object]:
    return {
        "read": read,
        "memory_stats": {"usage": 1000, "stats": stats},
        "cpu_stats": {"cpu_usage": {"total_usage": 7}},
        "pids_stats": {"current": 3},
    }


@pytest.mark.parametrize("read", ["2026-11-23T18:04:05.5Z", "2026-11-23T18:04:05.500000999Z"])
def test_go_writes_fractions_of_any_length(read: str) -> None:
    sample = sample_of(answer(read, {}))

    assert sample is not None
    assert AT + timedelta(seconds=0.5) == sample.at


@pytest.mark.parametrize("name", ["total_inactive_file", "inactive_file"])
def test_the_file_cache_does_not_count_on_either_cgroup_version(name: str) -> None:
    sample = sample_of(answer("2026-11-23T18:04:05Z", {name: 300}))

    assert sample is not None
    assert (700, 3, 7) == (sample.memory_bytes, sample.pids, sample.cpu_ns)


def test_bytes_of_all_interfaces_count_and_there_may_be_none() -> None:
    told = answer("2026-11-23T18:04:05Z", {})
    interfaces = {"eth0": {"rx_bytes": 1, "tx_bytes": 20}, "eth1": {"rx_bytes": 300, "tx_bytes": 4000}}

    one, none = sample_of({**told, "networks": interfaces}), sample_of(told)

    assert one is not None
    assert none is not None
    assert (4321, 0) == (one.network_bytes, none.network_bytes)
    later = replace(one, at=one.at + timedelta(seconds=1), cpu_ns=9)
    assert (4321, 9) == (usage_between(one, later).network_bytes, usage_between(one, later).cpu_ns)


def test_what_does_not_run_has_no_sample() -> None:
    assert sample_of({"read": "0001-01-01T00:00:00Z", "memory_stats": {}}) is None


def test_cpu_is_a_rate_between_two_looks() -> None:
    later = replace(SAMPLE, at=AT + timedelta(seconds=2), cpu_ns=2_000_000_000)

    assert 0.5 == usage_between(SAMPLE, later).cpus


@pytest.mark.parametrize("later", [SAMPLE, replace(SAMPLE, at=AT + timedelta(seconds=1), cpu_ns=0)])
def test_no_rate_can_be_told_without_time_or_across_a_restart(later: Sample) -> None:
    assert 0.0 == usage_between(SAMPLE, later).cpus


def test_commands_keep_their_words_and_a_nameless_process_has_none() -> None:
    top = {"Processes": [["7", "1.5", "2", "61", "sh -c", "x"], ["8", "0.0", "0", "0"]]}

    one, two = processes_of(top)

    assert (7, 1.5, 2048, 61, "sh -c x") == (
        one.pid,
        one.cpu_percent,
        one.memory_bytes,
        one.cpu_time_s,
        one.command,
    )
    assert "" == two.command
    assert [] == processes_of({"Processes": None})
