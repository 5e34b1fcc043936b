"""Names of models and data sets that are not on this machine: mistyped paths, unfinished outputs, and the Hub.

A name that can only be a path is answered at once. For the others, the connection to the Hub is tried once: without
one, the client's own attempts would take a minute.
"""

import difflib
import functools
import re
import socket
import urllib.parse
import urllib.request
from pathlib import Path

from codefit import outputs
from codefit.errors import UserError

PATIENCE = 3  # seconds to wait for a connection to the Hub
SIMILAR = 0.6  # share of letters that a mistyped name has in common with what was meant
ONLY_A_PATH = re.compile(r"^[./~]|[\\:]|/.*/|/$|\.(gguf|jsonl|json)$", re.IGNORECASE)  # no Hub id looks like this


def reach_for(name: str) -> None:
    """Prepare for reading something by a name: nothing to do where it is a local path, else the Hub is tried.

    Raises:
        UserError: the name can only be a path, or that of an output that is not finished.
    """
    if Path(name).expanduser().exists():
        return
    refuse_unfinished(name)
    if ONLY_A_PATH.search(name):
        raise UserError(
            f"{name} is neither a local folder nor readable on the Hub (an id there is owner/name); "
            f"{suggestion(name, 'check the path')}"
        )
    if not connected():
        from huggingface_hub import constants

        constants.HF_HUB_OFFLINE = True  # what is in the cache is used, and the rest refused at once


def refuse_unfinished(name: str) -> None:
    """Raise UserError where a name is that of an output whose run has not finished."""
    place = Path(name)
    if place.name in {"", ".."} or not outputs.is_ours(outputs.workspace(place)):
        return
    raise UserError(
        f"{name} is not finished yet: {outputs.workspace(place)} holds an unfinished run, such as a training; "
        "run the command that writes it again, and it continues."
    )


def suggestion(name: str, otherwise: str) -> str:
    """Return the end of an error message: the nearest path that exists, or what else to do where there is none."""
    found = nearest(name)
    if found is None:
        return f"{otherwise}."
    whole = len(found.parts) == len(Path(name).expanduser().parts)
    return f"did you mean {found}?" if whole else f"the nearest folder that exists is {found}."


def nearest(name: str) -> Path | None:
    """Return the path that exists and is most similar to a name: each part of it is the one meant, or a similar one.

    Where no similar one exists, the path ends there; None where not even the first part has one.
    """
    path = Path(name).expanduser()
    found = Path(path.anchor)
    for part in path.relative_to(path.anchor).parts:
        if part == ".." or (found / part).exists():
            found /= part
            continue
        try:
            there = [each.name for each in found.iterdir() if not each.name.startswith(".")]
        except OSError:
            break
        similar = difflib.get_close_matches(part, there, n=1, cutoff=SIMILAR)
        if not similar:
            break
        found /= similar[0]
    return None if found in {Path(path.anchor), Path()} else found


@functools.cache
def connected() -> bool:
    """Return whether the Hub's machine answers; a proxy is not tried, since it resolves names itself."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE or urllib.request.getproxies():
        return True
    endpoint = urllib.parse.urlsplit(constants.ENDPOINT)
    port = endpoint.port or (80 if endpoint.scheme == "http" else 443)
    try:
        socket.create_connection((endpoint.hostname or "", port), timeout=PATIENCE).close()
    except OSError:
        return False
    return True
