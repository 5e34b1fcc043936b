"""Earlier predictions on disk, so that no model is asked the same twice; the key is the content of the question.

The unit is a batch, since the last digits of a number depend on the batch it was computed in: a run that finds answers
here writes the same bytes as one that does not, also after a kill. A question names everything that can change its
answer: the weights, the dtype, the libraries, codefit's own code, the settings and the token ids.

The folder is $CODEFIT_CACHE, or `codefit` in the user's cache folder; it can be deleted at any time.
"""

import hashlib
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from codefit.gguf_base import cache_folder
from codefit.manifest import sha256, versions
from codefit.outputs import write_whole

PACKAGES = ("torch", "transformers", "peft", "bitsandbytes")
CODE = (
    *("generation/batched.py", "generation/kv_cache.py", "generation/likelihood.py", "generation/nucleus.py"),
    *("generation/stopping.py", "code/structure.py"),
)


def folder() -> Path | None:
    """Return where answers are stored; None for a user without a home folder."""
    try:
        return cache_folder() / "predictions"
    except RuntimeError:
        return None


class PredictionCache:
    """The stored answers of one model.

    Args:
        facts: what identifies the model and its arithmetic; versions and codefit's own code are added to them.
        place: the folder that holds the answers.
    """

    def __init__(self, facts: Mapping[str, Any], place: Path) -> None:
        used = {name: version for name, version in versions().items() if name in PACKAGES}
        code = [sha256(Path(__file__).parent.parent / name) for name in CODE]
        self.facts = _digest({"facts": dict(facts), "versions": used, "code": code})
        self.place = place
        self.found = self.asked = 0  # batches
        self.writable = True

    def get(self, question: Mapping[str, Any]) -> list[Any] | None:
        """Return the answer to a question of JSON values, or None; a damaged entry counts as none, with a note."""
        path = self._path(question)
        try:
            entry = json.loads(path.read_bytes())
            if entry["sha256"] != _digest(entry["answer"]):
                raise ValueError
        except FileNotFoundError:
            entry = None
        except (OSError, ValueError, TypeError, KeyError):
            print(f"note: the stored predictions {path.name} are damaged and are computed again.", file=sys.stderr)
            entry = None
        self.asked += 1
        self.found += entry is not None
        return None if entry is None else list(entry["answer"])

    def put(self, question: Mapping[str, Any], answer: list[Any]) -> None:
        """Store an answer, whole or not at all. Where nothing can be written the run goes on, with a note."""
        path = self._path(question)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, json.dumps({"sha256": _digest(answer), "answer": answer}))
        except OSError as error:
            if self.writable:
                print(f"note: predictions are not stored: {self.place}: {error.strerror}.", file=sys.stderr)
            self.writable = False

    def _path(self, question: Mapping[str, Any]) -> Path:
        key = _digest({"facts": self.facts, **question})
        return self.place / key[:2] / f"{key}.json"


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
