"""Real tarballs, as the image's `export` makes them, and what real programs find in them."""

import io
import subprocess
import tarfile
from collections.abc import Mapping
from pathlib import Path

from rootblood.domain.exports import ArchiveFormat
from tests.fakes.exporter import GOOD_END, frame


def tarball(files: Mapping[str, bytes], kind: ArchiveFormat) -> bytes:
    """A home with these files."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(f"home/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    program = "gzip" if kind is ArchiveFormat.GZIP else "zstd"
    return subprocess.run(
        [program, "--stdout"], input=packed.getvalue(), capture_output=True, check=True
    ).stdout


def frames(files: Mapping[str, bytes], kind: ArchiveFormat) -> bytes:
    """What the front door gets of it."""
    return frame(b"d", tarball(files, kind)) + GOOD_END


def unpacked(archive: Path) -> dict[str, bytes]:
    """The files of a tarball, of which GNU tar, bsdtar and Python's tarfile find the same."""
    plain = archive.with_name("plain.tar")
    program = "gzip" if archive.name.endswith(".gz") else "zstd"
    with archive.open("rb") as packed:
        plain.write_bytes(
            subprocess.run(
                [program, "--decompress", "--stdout"], stdin=packed, capture_output=True, check=True
            ).stdout
        )
    with tarfile.open(plain, errors="surrogateescape") as tar:
        found = {member.name: member for member in tar}
        as_listed = [name.replace("\n", "\\n") for name in found]
        for lister in ("tar", "bsdtar"):
            listed = subprocess.run([lister, "-tf", str(archive)], capture_output=True, text=True, check=True)
            assert ("", as_listed) == (
                listed.stderr,
                [name.rstrip("/") for name in listed.stdout.splitlines()],
            )
        files = {name: tar.extractfile(member) for name, member in found.items() if member.isfile()}
        return {name: file.read() for name, file in files.items() if file is not None}
