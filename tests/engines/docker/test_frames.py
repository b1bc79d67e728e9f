"""Docker's frames taken apart, wherever the network cuts them."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from rootblood.engines.docker.frames import DemultiplexingProtocol

STDOUT, STDERR = 1, 2

frames = st.lists(st.tuples(st.sampled_from([STDOUT, STDERR]), st.binary(max_size=40)), max_size=8)


class Inner(asyncio.Protocol):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.data = b""
        self.calls: list[str] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:  # noqa: ARG002
        self.calls.append("made")

    def data_received(self, data: bytes) -> None:
        assert data
        self.data += data

    def eof_received(self) -> bool:
        self.calls.append("eof")
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self.calls.append(f"lost {exc}")

    def pause_writing(self) -> None:
        self.calls.append("pause")

    def resume_writing(self) -> None:
        self.calls.append("resume")


def encoded(pieces: list[tuple[int, bytes]]) -> bytes:
    return b"".join(bytes([stream, 0, 0, 0]) + len(data).to_bytes(4, "big") + data for stream, data in pieces)


def joined(pieces: list[tuple[int, bytes]], stream: int) -> bytes:
    return b"".join(data for number, data in pieces if number == stream)


def received(chunks: list[bytes]) -> tuple[bytes, bytes]:
    """Stdout and stderr of a stream that arrives in these chunks."""
    inner, stderr = Inner(), bytearray()
    outer = DemultiplexingProtocol(inner, stderr.extend)
    for chunk in chunks:
        outer.data_received(chunk)
    return inner.data, bytes(stderr)


@given(frames, st.data())
def test_frames_cut_anywhere_give_the_same_bytes(
    pieces: list[tuple[int, bytes]], data: st.DataObject
) -> None:
    wire = encoded(pieces)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=12)))
    chunks = [wire[start:end] for start, end in zip([0, *cuts], [*cuts, len(wire)], strict=True)]
    assert (joined(pieces, STDOUT), joined(pieces, STDERR)) == received(chunks)


@given(frames)
def test_one_byte_at_a_time(pieces: list[tuple[int, bytes]]) -> None:
    wire = encoded(pieces)
    assert (joined(pieces, STDOUT), joined(pieces, STDERR)) == received([bytes([byte]) for byte in wire])


def test_every_place_of_one_cut() -> None:
    wire = encoded([(STDOUT, b"abc"), (STDERR, b"oops"), (STDOUT, b""), (STDOUT, b"def")])
    for at in range(len(wire) + 1):
        assert (b"abcdef", b"oops") == received([wire[:at], wire[at:]])


def test_empty_frames_are_no_data() -> None:
    assert (b"", b"") == received([encoded([(STDOUT, b""), (STDERR, b"")]) * 3])


def test_a_frame_larger_than_any_read() -> None:
    wire = encoded([(STDOUT, b"x" * 1_000_000), (STDOUT, b"end")])
    assert (b"x" * 1_000_000 + b"end", b"") == received(
        [wire[at : at + 65536] for at in range(0, len(wire), 65536)]
    )


def test_everything_but_data_is_passed_on() -> None:
    inner = Inner()
    outer = DemultiplexingProtocol(inner, bytearray().extend)
    outer.connection_made(asyncio.Transport())
    outer.pause_writing()
    outer.resume_writing()
    assert outer.eof_received() is True
    outer.connection_lost(OSError("gone"))
    assert ["made", "pause", "resume", "eof", "lost gone"] == inner.calls
