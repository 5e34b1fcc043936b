"""Large files that come through xet: as much of the protocol of its storage as an upload speaks (hf_xet 1.8.0).

For each block of chunks, a "xorb", the client asks for a grant, sends the block to the address of the grant, and says
that it is there. At the end it sends a table of files, a "shard": of which chunks of which blocks each is made. The
chunks must come as they are (HF_XET_XORB_COMPRESSION_POLICY=none, which `hub_server.process` sets).
"""

import struct
from collections.abc import Callable, Iterator

from tests.support.hub_server.store import HubError
from tests.support.hub_server.wire import Answer, Request, as_json

XET_TOKEN = "xet-" + "OpQrStUvWx" * 3  # what the Hub gives in place of the user's token
NEVER = 4102444800  # the year 2100, in seconds since 1970

RECORD = 48  # bytes of every record in a shard, of its header too
NO_MORE_FILES = b"\xff" * 32
HAS_VERIFICATION, HAS_SHA256 = 1 << 31, 1 << 30
CHUNK_HEADER = 8  # bytes: version, length as stored (3), compression, length (3)
FOOTER = b"XETBLOB"  # what follows the chunks of a block

Segment = tuple[str, int, int, int]  # block, first chunk, chunk after the last, bytes


class XetStore:
    """The blocks and files that clients have sent."""

    def __init__(self) -> None:
        self.sent: dict[str, bytes] = {}  # to the address of a grant
        self.xorbs: dict[str, bytes] = {}
        self.files: dict[str, list[Segment]] = {}  # by their sha256
        self.routes: list[tuple[str, str, Callable[..., Answer]]] = [
            ("GET", "/xet/v1/chunks/.+", self.find_chunk),
            ("POST", "/xet/v1/xorb-grants/default/([^/]+)", self.grant),
            ("PUT", "/granted/([^/]+)", self.take),
            ("POST", "/xet/v1/xorb-commits/default/([^/]+)/grant/[^/]+", self.confirm),
            ("POST", "/xet/v1/xorbs/default/([^/]+)", self.take_at_once),
            ("POST", "/xet/v2/shards", self.take_files),
            ("POST", "/xet/v1/shards", self.take_files_at_once),
        ]

    def token(self, endpoint: str) -> dict[str, object]:
        """Return the answer to a request for a xet token. The storage has a name of its own, as it has on the Hub."""
        storage = endpoint.replace("127.0.0.1", "localhost")
        return {"accessToken": XET_TOKEN, "exp": NEVER, "casUrl": f"{storage}/xet"}

    def size(self, sha256: str) -> int | None:
        """Return the size of a file, or None if it was never uploaded."""
        return sum(segment[3] for segment in self.files[sha256]) if sha256 in self.files else None

    def read(self, sha256: str) -> bytes:
        """Return the bytes of an uploaded file."""
        parts = [_chunks(self.xorbs[xorb])[first:end] for xorb, first, end, _ in self.files[sha256]]
        return b"".join(chunk for part in parts for chunk in part)

    # ------------------------------------------------------------------------------------------ what is asked

    def find_chunk(self, request: Request) -> Answer:
        _check(request)
        raise HubError(404, "nobody has sent this chunk")

    def grant(self, request: Request, xorb: str) -> Answer:
        _check(request)
        url = f"{request.origin}/granted/{xorb}"
        return as_json({"id": f"grant-{xorb}", "method": "PUT", "url": url, "headers": {}}, 201)

    def take(self, request: Request, xorb: str) -> Answer:
        if request.token:
            raise HubError(400, "a grant needs no token")
        self.sent[xorb] = request.body
        return Answer()

    def confirm(self, request: Request, xorb: str) -> Answer:
        _check(request)
        if xorb not in self.sent:
            raise HubError(404, "nothing came to the address of the grant")
        self.xorbs[xorb] = self.sent.pop(xorb)
        return Answer()

    def take_at_once(self, request: Request, xorb: str) -> Answer:
        _check(request)
        self.xorbs[xorb] = request.body
        return as_json({"was_inserted": True})

    def take_files(self, request: Request) -> Answer:
        self.take_files_at_once(request)
        return as_json({"type": "result"})

    def take_files_at_once(self, request: Request) -> Answer:
        _check(request)
        files = dict(_files(request.body))
        if any(segment[0] not in self.xorbs for segments in files.values() for segment in segments):
            raise HubError(400, "a block of this table was never sent")
        self.files |= files
        return as_json({"result": 1})


def _check(request: Request) -> None:
    if request.token != XET_TOKEN:
        raise HubError(401, "not the token of the storage")


def _files(shard: bytes) -> Iterator[tuple[str, list[Segment]]]:
    """Yield the sha256 and the segments of each file that a shard lists."""
    at = RECORD
    while shard[at : at + 32] != NO_MORE_FILES:
        flags, count = struct.unpack_from("<II", shard, at + 32)
        at += RECORD
        segments = [_segment(shard, at + RECORD * number) for number in range(count)]
        at += RECORD * count * (2 if flags & HAS_VERIFICATION else 1)
        if flags & HAS_SHA256:
            yield _hex(shard, at), segments
            at += RECORD


def _segment(shard: bytes, at: int) -> Segment:
    size, first, end = struct.unpack_from("<III", shard, at + 36)
    return _hex(shard, at), first, end, size


def _hex(shard: bytes, at: int) -> str:
    """Four little-endian numbers of 64 bits, each as 16 hexadecimal digits."""
    return "".join(f"{number:016x}" for number in struct.unpack_from("<4Q", shard, at))


def _chunks(xorb: bytes) -> list[bytes]:
    found, at = [], 0
    while at < len(xorb) and not xorb.startswith(FOOTER, at):
        start, size = at + CHUNK_HEADER, int.from_bytes(xorb[at + 1 : at + 4], "little")
        assert xorb[at + 4] == 0, "a chunk came compressed"
        found.append(xorb[start : start + size])
        at = start + size
    return found
