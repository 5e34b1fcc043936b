"""The content of a folder, compared without what may differ between runs: times and peak memory."""

import hashlib
import json
import re
import shutil
from pathlib import Path
from typing import Any

OF_TIME = re.compile(r"seconds|runtime|_per_second|peak_memory")
PROBE_NAME = re.compile(r"tmp/[a-z0-9_]{8}")
PROBE_CONTENTS = {hashlib.sha256(b"blat"[:length]).hexdigest() for length in range(5)}

Tree = dict[str, str]


def tree(folder: Path) -> Tree:
    """Return every path in a folder with a digest of its content; "/" for a folder."""
    found: Tree = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = f"-> {path.readlink()}"
        elif path.is_dir():
            found[name] = "/"
        elif path.is_file():
            found[name] = hashlib.sha256(_content(path)).hexdigest()
        else:
            found[name] = "special"
    return found


def is_probe_of_python(path: str, what: str) -> bool:
    """Return whether a kill left the file by which Python's tempfile tests the folder for temporary files."""
    return bool(PROBE_NAME.fullmatch(path)) and what in PROBE_CONTENTS


def part(found: Tree, names: tuple[str, ...]) -> Tree:
    """Return what of a tree lies at or under some names."""
    return {path: what for path, what in found.items() if any(path == n or path.startswith(f"{n}/") for n in names)}


def copy(source: Path, target: Path) -> None:
    """Make a folder the copy of another, with nothing of what was in it."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target, symlinks=True)


def _content(path: Path) -> bytes:
    content = path.read_bytes()
    if path.name == "log.jsonl":
        content = b"[" + b",".join(content.splitlines()) + b"]"
    elif path.suffix != ".json":
        return content
    try:
        return json.dumps(_timeless(json.loads(content))).encode()
    except ValueError:
        return content


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _timeless(item) for key, item in value.items() if not OF_TIME.search(key)}
    return [_timeless(item) for item in value] if isinstance(value, list) else value
