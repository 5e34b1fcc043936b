"""Calls of git: with an explicit git directory, and without the caller's environment variables about repositories.

A git hook sets GIT_DIR, GIT_INDEX_FILE and others for everything that it runs, and a shell may set GIT_CONFIG_* or
GIT_OBJECT_DIRECTORY. With them, a command for one repository could act on another.
"""

import os
from pathlib import Path

# Without optional locks git only reads; otherwise a kill during a refresh of the index would leave a lock behind.
NEVER_ASK = {"GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0", "GIT_NO_REPLACE_OBJECTS": "1"}


def environment(**settings: str) -> dict[str, str]:
    """Return the environment of a git command: no `GIT_*` of the caller, messages in English, and the settings."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    return {**inherited, "LC_ALL": "C", "LANGUAGE": "C", **NEVER_ASK, **settings}


def command(git_dir: Path, *words: str) -> list[str]:
    """Return a git command line for an explicit git directory, so that git never searches for one."""
    return ["git", f"--git-dir={git_dir}", *words]
