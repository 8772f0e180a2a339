# SPDX-License-Identifier: Apache-2.0
"""HTTP/2 frames as bytes, for peers that no library would let be so bad (RFC 9113 section 4.1)."""
import struct

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST, SETTINGS, PUSH, PING, GOAWAY, WINDOW, CONTINUATION = range(10)
END_STREAM, END_HEADERS = 1, 4
# :method, :scheme http, :path /, :authority t (RFC 7541, static table)
GET = b"\x82\x86\x84\x41\x01t"
POST = b"\x83\x86\x84\x41\x01t"


def frame(kind, flags=0, stream=0, payload=b""):
    return struct.pack("!I", len(payload))[1:] + bytes([kind, flags]) + struct.pack("!I", stream) + payload


def parse(data):
    """(kind, flags, stream, payload) of each whole frame."""
    while len(data) >= 9:
        size = int.from_bytes(data[:3], "big")
        if len(data) < 9 + size:
            return
        yield data[3], data[4], int.from_bytes(data[5:9], "big"), data[9:9 + size]
        data = data[9 + size:]
