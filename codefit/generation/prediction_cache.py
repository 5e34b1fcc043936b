"""A cache of predictions on disk, so that nothing is generated or scored twice; entries are found by a content hash.

An entry is a whole batch, since the last digits of a number depend on the batch it was computed in: a run that uses
the cache writes the same bytes as one that does not, also after it was killed. A request names everything that can
change its result: the weights, the dtype, the libraries, codefit's own code, the settings and the token ids.

The folder is $CODEFIT_CACHE, or `codefit` in the user's cache folder; it can be deleted at any time.
"""

import hashlib
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from codefit import console
from codefit.gguf_base import cache_folder
from codefit.manifest import sha256, versions
from codefit.outputs import write_whole

PACKAGES = ("torch", "transformers", "peft", "bitsandbytes")
CODE = (
    *("generation/batch_check.py", "generation/batched.py", "generation/kv_cache.py", "generation/likelihood.py"),
    *("generation/nucleus.py", "generation/reference_nats.py", "generation/stopping.py", "code/structure.py"),
)


def folder() -> Path | None:
    """Return the folder of the cache; None for a user without a home folder."""
    try:
        return cache_folder() / "predictions"
    except RuntimeError:
        return None


class PredictionCache:
    """The cached predictions of one model.

    Args:
        facts: what identifies the model and its arithmetic; versions and hashes of codefit's code are added.
        place: the folder of the cache.
    """

    def __init__(self, facts: Mapping[str, Any], place: Path) -> None:
        used = {name: version for name, version in versions().items() if name in PACKAGES}
        code = [sha256(Path(__file__).parent.parent / name) for name in CODE]
        self.facts = _digest({"facts": dict(facts), "versions": used, "code": code})
        self.place = place
        self.hits = self.requests = 0  # number of batches
        self.writable = True

    def get(self, request: Mapping[str, Any]) -> list[Any] | None:
        """Return the stored result of a request, or None; a damaged entry counts as a miss, with a note."""
        path = self._path(request)
        try:
            entry = json.loads(path.read_bytes())
            if entry["sha256"] != _digest(entry["answer"]):
                raise ValueError
        except FileNotFoundError:
            entry = None
        except (OSError, ValueError, TypeError, KeyError):
            console.show(
                f"note: the stored predictions {path.name} are damaged; they are generated again.", file=sys.stderr
            )
            entry = None
        self.requests += 1
        self.hits += entry is not None
        return None if entry is None else list(entry["answer"])

    def put(self, request: Mapping[str, Any], result: list[Any]) -> None:
        """Store a result, completely or not at all. Where nothing can be written the run continues, with a note."""
        path = self._path(request)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, json.dumps({"sha256": _digest(result), "answer": result}))
        except OSError as error:
            if self.writable:
                console.show(f"note: predictions are not cached ({self.place}: {error.strerror}).", file=sys.stderr)
            self.writable = False

    def _path(self, request: Mapping[str, Any]) -> Path:
        key = _digest({"facts": self.facts, **request})
        return self.place / key[:2] / f"{key}.json"


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
