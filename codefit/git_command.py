"""How git is called: free of what the caller's environment says about repositories, and with its directory named.

A git hook sets GIT_DIR, GIT_INDEX_FILE and others for all that runs in it, and a shell may hold GIT_CONFIG_* or
GIT_OBJECT_DIRECTORY. Each of them would turn a command for one repository into a command for another.
"""

import os
from pathlib import Path

# Without optional locks git only reads: killed while it refreshes an index, it would leave a lock in the repository.
NEVER_ASK = {"GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0", "GIT_NO_REPLACE_OBJECTS": "1"}


def environment(**settings: str) -> dict[str, str]:
    """Return the environment for a git command: no `GIT_*` of the caller, messages in English, and the settings."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    return {**inherited, "LC_ALL": "C", "LANGUAGE": "C", **NEVER_ASK, **settings}


def command(git_dir: Path, *words: str) -> list[str]:
    """Return the command line of git for one git directory, which is never searched for."""
    return ["git", f"--git-dir={git_dir}", *words]
