"""The place of this process in a distributed launch (accelerate, torchrun)."""

import os


def processes() -> int:
    """Return the number of processes that `accelerate launch` or torchrun started for this command."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_first_process() -> bool:
    """Return whether this process is the one that prints, writes and pushes."""
    return os.environ.get("RANK", "0") == "0"
