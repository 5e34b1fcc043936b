"""Git's error messages, each turned into one sentence that tells the user what to do."""

import re

from codefit.errors import UserError
from codefit.sources.source import Unreachable

MEANINGS = (
    ("could not read Username", "does not exist or needs a login; check the name, or set up a git credential helper"),
    ("Authentication failed", "refused the login; check git's stored credentials"),
    ("Permission denied", "needs a login that was refused; check the ssh key and the name"),
    ("Host key verification failed", "has an unknown ssh host key; connect to it once with ssh and accept the key"),
    ("not found", "does not exist; check the name"),
    ("does not appear to be a git repository", "is not a git repository; check the path"),
    ("not a git repository", "is not a git repository; check the path"),
    ("couldn't find remote ref HEAD", "has no commit yet; commit something, or give another source"),
    ("couldn't find remote ref", "has no such revision; give a branch, a tag or a full commit id as --revision"),
    ("not our ref", "has no such revision; give a branch, a tag or a full commit id as --revision"),
    ("Needed a single revision", "has no such revision; give a branch, a tag or a commit id as --revision"),
    ("unknown revision", "has no such revision; give a branch, a tag or a commit id as --revision"),
    ("mismatched algorithms", "has another object format than expected; give a clone of it"),
    ("Could not resolve host", "cannot be reached; check the network, or give a local repository or bundle"),
    ("unable to access", "cannot be reached; check the network, or give a local repository or bundle"),
    ("Could not read from remote", "cannot be reached; check the address and the network"),
    ("lacks these prerequisite", "is a bundle that needs commits it does not contain; create it with the full history"),
    ("dubious ownership", "belongs to another user; allow it with git config --global --add safe.directory"),
    ("not allowed", "lacks objects that git would have to fetch; complete it with git fetch --refetch"),
)
SAID = re.compile(r"^\W*(?:fatal|error): (.*)", re.M)
LOGIN = re.compile(r"(?<=://)[^/\s@]*@")  # the user, and perhaps a password or token, in a URL


def failure(where: str, said: str) -> UserError:
    """Return the error for a message of git about a source; `Unreachable` if a later attempt may succeed."""
    for phrase, meaning in MEANINGS:
        if phrase in said:
            kind = Unreachable if meaning.startswith("cannot be reached") else UserError
            return kind(f"{where} {meaning}.")
    found = SAID.search(said)
    reason = LOGIN.sub("", found[1]).strip(" '.") if found else "it gave no reason"
    return UserError(f"git cannot read {where} ({reason}); check it with git.")
