"""What a helper says of itself, whatever is in the volume."""

from rootblood.engines.docker.volumes import _Helper

CHANGED = b"tar: ./%s: file changed as we read it\n"


def test_what_matters_is_told_first_and_the_rest_counted() -> None:
    helper = _Helper()
    helper.hear(CHANGED % b"x" * 30 + CHANGED % (b"n" * 5000) + b"tar: ./y: Cannot open: Input/output")
    helper.hear(b" error\nended: 2 0\n")
    assert [2, 0] == list(helper.statuses)
    assert "tar: ./y: Cannot open: Input/output error" == helper.said[0]
    assert ["tar: ./x: file changed as we read it"] * 19 == helper.said[1:20]
    assert "and 12 more" == helper.said[20]


def test_a_long_name_does_not_hide_what_is_the_matter() -> None:
    helper = _Helper()
    helper.hear(CHANGED % (b"n" * 5000) + b"ended: 1 0\n")
    (said,) = helper.said
    assert (500, True, True) == (len(said), said.startswith("tar: ./nnn"), said.endswith("as we read it"))
