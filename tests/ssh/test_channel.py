"""Commands are bytes."""

from hypothesis import given
from hypothesis import strategies as st

from rootblood.ssh.channel import command_bytes


@given(st.binary())
def test_a_command_survives_its_way_through_text(command: bytes) -> None:
    assert command == command_bytes(command.decode("utf-8", "surrogateescape"))
