"""Large files that come through xet: the client's own library keeps them in a folder when it is told `local://folder`.

The folder is undocumented (hf_xet 1.8.0); all that is known of it is in this file.
"""

import struct
from pathlib import Path

RECORD = 48  # bytes of every record in a shard, of its header too
NO_MORE_FILES = b"\xff" * 32
HAS_VERIFICATION, HAS_SHA256 = 1 << 31, 1 << 30
NEVER = 4102444800  # the year 2100, in seconds since 1970


class XetStore:
    """The files that clients have written to the folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.known: dict[str, tuple[str, int]] = {}

    @property
    def url(self) -> str:
        return f"local://{self.folder}"

    def token(self) -> dict[str, object]:
        """Return the answer to a request for a xet token."""
        return {"accessToken": "xet", "exp": NEVER, "casUrl": self.url}

    def find(self, sha256: str) -> tuple[str, int] | None:
        """Return the xet hash and the size of a file, or None if it was never uploaded."""
        if sha256 not in self.known:
            for shard in (self.folder / "xet" / "xorbs" / "shards").glob("*.mdb"):
                self.known |= _files(shard.read_bytes())
        return self.known.get(sha256)

    def read(self, sha256: str) -> bytes:
        """Return the bytes of an uploaded file."""
        import hf_xet

        target = self.folder / sha256
        session = hf_xet.XetSession()
        with session.new_file_download_group(endpoint=self.url, token="xet", token_expiry_unix_secs=NEVER) as group:
            group.start_download_file(hf_xet.XetFileInfo(*self.known[sha256]), str(target))
        return target.read_bytes()


def _files(shard: bytes) -> dict[str, tuple[str, int]]:
    """Return {sha256: (xet hash, size)} of the files that a metadata shard lists."""
    found = {}
    at = RECORD
    while (file_hash := shard[at : at + 32]) != NO_MORE_FILES:
        flags, segments = struct.unpack_from("<II", shard, at + 32)
        at += RECORD
        size = sum(struct.unpack_from("<I", shard, at + RECORD * index + 36)[0] for index in range(segments))
        at += RECORD * segments * (2 if flags & HAS_VERIFICATION else 1)
        if flags & HAS_SHA256:
            found[_hex(shard[at : at + 32])] = (_hex(file_hash), size)
            at += RECORD
    return found


def _hex(raw: bytes) -> str:
    """Four little-endian numbers of 64 bits, each as 16 hexadecimal digits."""
    return "".join(f"{number:016x}" for number in struct.unpack("<4Q", raw))
