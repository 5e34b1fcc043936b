"""Globs on the paths of files: `*.py`, `setup.py`, `tests/`, `docs/**/conf.py`.

A glob without a slash is a name in any folder, as in .gitignore; one with a slash is a path from the root of the
repository. `*` and `?` stop at a slash, and `**` does not. A glob that ends in a slash is everything in that folder.
"""

import functools
import re

WILDCARDS = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
WILDCARD = re.compile(r"(\*\*/|\*\*|\*|\?)")


def matches(glob: str, path: str) -> bool:
    """Return whether a glob matches the whole path of a file."""
    return _compiled(glob).fullmatch(path) is not None


@functools.cache
def _compiled(glob: str) -> re.Pattern[str]:
    anywhere = "/" not in glob.rstrip("/")
    whole = f"{glob}**" if glob.endswith("/") else glob
    parts = (WILDCARDS.get(part) or re.escape(part) for part in WILDCARD.split(whole.removeprefix("/")))
    return re.compile(("(?:.*/)?" if anywhere else "") + "".join(parts), re.DOTALL)
