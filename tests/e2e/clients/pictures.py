# SPDX-License-Identifier: MIT
"""Pictures to send, and the size of those that come back."""
import struct
import zlib


def png(width=64, height=64):
    """A PNG of one colour."""
    def chunk(kind, data):
        return (struct.pack(">I", len(data)) + kind + data +
                struct.pack(">I", zlib.crc32(kind + data)))
    rows = (b"\0" + b"\x40\x80\xc0" * width) * height
    return (b"\x89PNG\r\n\x1a\n" +
            chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)) +
            chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


def size_of(data):
    """Width and height of a PNG."""
    assert data.startswith(b"\x89PNG"), data[:16]
    return struct.unpack(">II", data[16:24])
