"""What tmux answers: no tmux server is an answer like any other, and its complaints are logged."""

import sys

import pytest

from rootblood.services.tmux import TMUX, ask_tmux
from tests.fakes.reaping import Ground, Server


@pytest.fixture
async def ground(ground: Ground) -> Ground:
    await ground.start()
    return ground


async def ask(ground: Ground, server: Server, program: str) -> tuple[str, str]:
    """The answer, and what was written to stderr, where tmux is that program."""
    ground.engine._programs[TMUX] = [sys.executable, "-c", program]
    answer = await ask_tmux(server.environments, ground.alice, "list-sessions", "-F", "two  words")
    return answer, "".join(ground.engine.stderr)


@pytest.mark.parametrize(
    "words",
    [
        "no server running on /run/rootblood/tmux",
        "error connecting to /run/rootblood/tmux (No such file or directory)",
    ],
)
async def test_no_server_is_an_empty_answer_and_nothing_for_the_log(
    ground: Ground, server: Server, words: str
) -> None:
    assert ("", "") == await ask(ground, server, f"import sys; sys.exit({words!r})")


async def test_another_complaint_is_no_answer_and_reaches_the_log(ground: Ground, server: Server) -> None:
    program = "import sys; print('0 make'); sys.exit('protocol version mismatch')"
    answer, _ = await ask(ground, server, program)

    assert "" == answer
    await ground.engine.close()  # stderr has been read to its end
    assert "protocol version mismatch" in "".join(ground.engine.stderr)


async def test_arguments_and_answer_pass_as_they_are(ground: Ground, server: Server) -> None:
    said = await ask(ground, server, r"import sys; print(sys.argv[1:]); print(r'50% \n $(id)')")

    arguments = ["-S", "/run/rootblood/tmux", "list-sessions", "-F", "two  words"]
    assert (f"{arguments}\n50% \\n $(id)\n", "") == said
