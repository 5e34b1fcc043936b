"""Errors for the user: a problem that the user can solve, in one sentence."""


class UserError(Exception):
    """A problem the user can solve: one sentence that says what happened and what to do."""


class Interrupted(UserError):
    """A run that Ctrl-C has stopped in good order: the script exits as after any Ctrl-C."""


def first_line(error: BaseException) -> str:
    """Return the message of a library's error as part of a sentence: its first line without the full stop."""
    return " ".join(str(error).strip().split("\n")[0].split()).rstrip(".") or type(error).__name__
