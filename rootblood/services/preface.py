"""Files that come before a home in one and the same tarball.

A tarball of a home is made elsewhere, and is compressed when it arrives. Its size is known at its end, so it
could be no member of a larger archive without being kept somewhere first. Instead the larger archive begins
here and goes on with it: a tar without its end marks, and then the home's, are one tar; a gzip member and
another (RFC 1952, 2.2), or a Zstandard frame and another (RFC 8878, 3), are one file of that format.

Who writes it holds the preface back until the home has begun: on its own it would pass for whole.
"""

import gzip
import tarfile
from collections.abc import Mapping
from datetime import datetime

from rootblood.domain.exports import ArchiveFormat

_TAR_BLOCK_BYTES = 512
_MODE = 0o600

_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_ZSTD_BLOCK_BYTES = 128 * 1024
"""The longest block."""


def preface(files: Mapping[str, bytes], kind: ArchiveFormat, *, at: datetime) -> bytes:
    """The beginning of a tarball.

    Args:
        files: what is in it, by path, in this order.
        kind: how the rest of the tarball is compressed.
        at: when the files were made.
    """
    tar = b"".join(_member(name, content, at) for name, content in files.items())
    if kind is ArchiveFormat.GZIP:
        return gzip.compress(tar, mtime=0)
    return _zstd_frame(tar)


def _member(name: str, content: bytes, at: datetime) -> bytes:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    info.mode = _MODE
    info.mtime = int(at.timestamp())
    padding = -len(content) % _TAR_BLOCK_BYTES
    return info.tobuf(tarfile.PAX_FORMAT) + content + b"\0" * padding


def _zstd_frame(data: bytes) -> bytes:
    """`data` as it is, in a frame: Python 3.11 has no Zstandard, and a few kilobytes need no compressing."""
    # One segment, no checksum, no dictionary, eight bytes of content size.
    descriptor = 0b11_1_0_0_0_00
    blocks = [data[at : at + _ZSTD_BLOCK_BYTES] for at in range(0, len(data), _ZSTD_BLOCK_BYTES)] or [b""]
    framed = [_ZSTD_MAGIC, bytes([descriptor]), len(data).to_bytes(8, "little")]
    for number, block in enumerate(blocks, start=1):
        last = int(number == len(blocks))
        framed += [(len(block) << 3 | last).to_bytes(3, "little"), block]  # type 0: a raw block
    return b"".join(framed)
