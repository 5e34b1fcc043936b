"""The directory at the end of a zip, so that an odd word on one file costs that file alone.

Python's zipfile gives up the whole archive over one name that is not UTF-8, over an extra field that says a false
length, or over a format of the future.
"""

import struct
import zipfile

ENTRY = b"PK\x01\x02"  # begins the word on one file
HEADER, VERSION, FLAGS, LENGTHS = 46, 6, 8, 28  # the size of an entry without its texts, and where things are in it
UTF8_NAME = 0x800
NEWEST = 63  # version of the format that zipfile knows
NO_FIELD = 0xFFFF  # an extra field that nobody reads


def repaired(directory: bytes) -> bytes:
    """Return a directory that zipfile can read, of the same length.

    A name that is not the UTF-8 that it says loses the flag: zipfile then takes it for code page 437, which has a
    character for every byte.
    """
    data, at = bytearray(directory), 0
    while data.startswith(ENTRY, at) and at + HEADER <= len(data):
        data[at + VERSION] = min(data[at + VERSION], NEWEST)
        (flags,) = struct.unpack_from("<H", data, at + FLAGS)
        name, extra, comment = struct.unpack_from("<3H", data, at + LENGTHS)
        start = at + HEADER + name
        if not _is_utf8(data[at + HEADER : start]):
            struct.pack_into("<H", data, at + FLAGS, flags & ~UTF8_NAME)
        if _is_damaged(data[start : start + extra]):
            data[start : start + extra] = struct.pack("<HH", NO_FIELD, extra - 4).ljust(extra, b"\0")
        at = start + extra + comment
    return bytes(data)


def _is_damaged(extra: bytearray) -> bool:
    """Return whether an extra field says of a part of it that it is longer than there is room."""
    at = 0
    while at + 4 <= len(extra):
        at += 4 + int.from_bytes(extra[at + 2 : at + 4], "little")
    return at > len(extra)


def _is_utf8(name: bytearray) -> bool:
    try:
        name.decode()
    except UnicodeDecodeError:
        return False
    return True


def name_of(info: zipfile.ZipInfo) -> bytes:
    """Return the bytes of a name as they stand in a repaired directory."""
    return info.orig_filename.encode("utf-8" if info.flag_bits & UTF8_NAME else "cp437")
