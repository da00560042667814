"""Image files that Pillow reads and does not write, byte by byte."""

import struct
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

GREY, COLOUR, PALETTE, GREY_ALPHA, COLOUR_ALPHA = 0, 2, 3, 4, 6


def png(path: Path, size: tuple[int, int], depth: int, kind: int, rows: Sequence[bytes], **chunks: bytes) -> Path:
    """Write a PNG of ``depth`` bits a value; further chunks, such as ``tRNS``, by their names."""
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + _chunk("IHDR", struct.pack(">IIBBBBB", *size, depth, kind, 0, 0, 0))
        + b"".join(_chunk(name, content) for name, content in chunks.items())
        + _chunk("IDAT", zlib.compress(b"".join(b"\0" + row for row in rows)))
        + _chunk("IEND", b"")
    )
    return path


def _chunk(name: str, content: bytes) -> bytes:
    typed = name.encode() + content
    return struct.pack(">I", len(content)) + typed + struct.pack(">I", zlib.crc32(typed))


def tiff(
    path: Path,
    size: tuple[int, int],
    bits: Sequence[int],
    content: bytes,
    *,
    photometric: int = 1,
    big: bool = False,
    tags: Mapping[int, Sequence[int]] | None = None,
) -> Path:
    """Write a TIFF of one strip; ``tags`` are of short integers, by their numbers."""
    order = ">" if big else "<"
    entries = {
        256: [size[0]], 257: [size[1]], 258: bits, 259: [1], 262: [photometric], 277: [len(bits)], 278: [size[1]],
        **(tags or {}),
    }  # fmt: skip
    entries |= {273: [8], 279: [len(content)]}
    directory = 8 + len(content) + len(content) % 2
    after = directory + 2 + 12 * len(entries) + 4
    written, extra = b"", b""
    for number, values in sorted(entries.items()):
        packed = struct.pack(f"{order}{len(values)}H", *values)
        if len(packed) > 4:
            packed, extra = struct.pack(f"{order}I", after + len(extra)), extra + packed
        written += struct.pack(f"{order}HHI", number, 3, len(values)) + packed.ljust(4, b"\0")
    path.write_bytes(
        (b"MM" if big else b"II")
        + struct.pack(f"{order}HI", 42, directory)
        + content
        + b"\0" * (len(content) % 2)
        + struct.pack(f"{order}H", len(entries))
        + written
        + struct.pack(f"{order}I", 0)
        + extra
    )
    return path
