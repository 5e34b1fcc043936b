"""Which process of a distributed launch (accelerate, torchrun) this is."""

import os


def processes() -> int:
    """Return how many processes `accelerate launch` or torchrun started for this command."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_first_process() -> bool:
    """Return whether this process is the one that prints, writes and pushes."""
    return os.environ.get("RANK", "0") == "0"
