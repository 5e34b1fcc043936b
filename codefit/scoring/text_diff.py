"""Where a prediction differs from its reference, for pages that mark it."""

import difflib
import re


def differing(prediction: str, reference: str) -> list[str]:
    """Return the prediction in parts that alternately match the reference and differ from it.

    The first part matches; it may be empty.
    """
    ours, theirs = (re.findall(r"\w+|\s+|[^\w\s]", text) for text in (prediction, reference))
    parts = [""]
    for tag, start, end, _, _ in difflib.SequenceMatcher(None, ours, theirs, autojunk=False).get_opcodes():
        differs = tag != "equal"
        if start < end and differs == (len(parts) % 2 == 1):  # an odd number of parts ends with one that matches
            parts.append("")
        parts[-1] += "".join(ours[start:end])
    return parts
