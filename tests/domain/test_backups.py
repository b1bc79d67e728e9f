"""What is written of a backup, and read again, also by and of another RootBlood."""

import json
from datetime import UTC, datetime

from rootblood.domain.backups import Form, Manifest, Part
from rootblood.domain.complaints import Complaints
from rootblood.domain.environments import Volume

AT = datetime(2026, 11, 26, tzinfo=UTC)
VOLUME = Volume("0123456789abcdef" * 2)
WARNINGS = Complaints(("./a: file changed as we read it",), 7)


def manifest(warnings: Complaints) -> Manifest:
    part = Part("home.tar", VOLUME, 10, "0" * 64, "", warnings)
    return Manifest("20261126T000000Z-01234567", Form.TAR, "1", "default", AT, AT, [], [part], [])


def test_warnings_are_read_as_they_were_written() -> None:
    written = manifest(WARNINGS).as_json()
    assert (list(WARNINGS.listed), 7) == tuple(
        written["parts"][0][name] for name in ("warnings", "more_warnings")
    )
    assert manifest(WARNINGS) == Manifest.from_json(json.dumps(written).encode())


def test_the_manifest_of_a_rootblood_that_did_not_count_is_read() -> None:
    written = manifest(WARNINGS).as_json()
    del written["parts"][0]["more_warnings"]
    written["parts"][0]["warnings"].append("and 7 more")
    (part,) = Manifest.from_json(json.dumps(written).encode()).parts
    assert Complaints((*WARNINGS.listed, "and 7 more")) == part.warnings
