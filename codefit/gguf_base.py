"""GGUF files as base models: dequantised once into an ordinary model folder, which everything else then uses.

Users of Ollama, LM Studio and llama.cpp already have such files. The folder is in codefit's cache, named by the sha256
of the file. The conversion runs in a separate process, so that stages without torch do not import it.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

from codefit import hub_names
from codefit.errors import UserError
from codefit.manifest import ROOT, GgufOrigin, read_manifest, sha256

SUFFIX = ".gguf"
SHARD = re.compile(r"-\d{5}-of-\d{5}$")


def cache_folder() -> Path:
    """Return codefit's cache folder: $CODEFIT_CACHE, or `codefit` in the user's cache."""
    place = os.environ.get("CODEFIT_CACHE") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "codefit"
    return Path(place).expanduser()


def gguf_file(name: str) -> Path | None:
    """Return the GGUF file that a name refers to: the file itself, or the only one in a folder without a config.json.

    Raises:
        UserError: the folder contains several, or the file is one part of a split file.
    """
    path = Path(name).expanduser()
    if path.is_dir() and not (path / "config.json").exists():
        found = sorted(path.glob(f"*{SUFFIX}"))
        if len(found) > 1:
            names = ", ".join(file.name for file in found)
            raise UserError(f"{path} contains several GGUF files ({names}); give one of them.")
        path = found[0] if found else path
    if path.suffix.lower() != SUFFIX or not path.is_file():
        return None
    if SHARD.search(path.stem):
        raise UserError(f"{path} is one part of a split GGUF file; join the parts with llama-gguf-split --merge.")
    return path


def local_model(name: str) -> str:
    """Return the name of an ordinary model: the dequantised folder for a GGUF file, any other name unchanged.

    Raises:
        UserError: the file cannot be read, or its architecture or tokenizer cannot be converted.
    """
    file = gguf_file(name)
    if file is None:
        hub_names.reach_for(name)
        return name
    folder = cache_folder() / "models" / f"{file.stem}-{sha256(file)[:16]}"
    if not folder.is_dir():
        _convert(file, folder)
    return str(folder)


def origin(name: str) -> GgufOrigin | None:
    """Return the file that a base was dequantised from; None for every other model."""
    folder = Path(local_model(name))
    made = read_manifest(folder) if folder.is_dir() else {}
    if "gguf" not in made:
        return None
    [(read, digest)] = made["inputs"].items()
    file = gguf_file(name) or Path(read)
    return GgufOrigin(str(file), digest, made["gguf"]["quantisation"], made["gguf"]["licence"])


def _convert(file: Path, folder: Path) -> None:
    """Dequantise a file into a folder in another process, which prints its progress."""
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    if not sys.stderr.isatty():
        environment["TQDM_DISABLE"] = "1"
    sys.stdout.flush()
    command = [sys.executable, "-m", "codefit.modeling.gguf_import", str(file.resolve()), str(folder)]
    done = subprocess.run(
        command, env=environment, check=False, stderr=None if sys.stderr.isatty() else subprocess.PIPE
    )
    if done.returncode:
        said = (done.stderr or b"").decode("utf-8", "replace").strip().splitlines()
        reason = said[-1].removeprefix("error: ") if said and said[-1].startswith("error: ") else ""
        raise UserError(reason or f"cannot read {file} as a model; get it again, or give a folder with safetensors.")
