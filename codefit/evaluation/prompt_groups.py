"""Groups of prompts in which models differ for different reasons. The rules are lexical and work for any language.

- line: the kind of the cursor's line, completed by the reference, by its first words and symbols
- length: characters of the reference
- names: whether the reference has an identifier that is not in the prompt, or not in the training data either
- cursor: at the start of a line, in a line between words, or inside a word
- place: what a later commit added to, as its pair says (codefit/records.py); pairs without a commit have none

The training data are read only when predictions are generated; what is needed of them is stored with each prediction,
under NOT_IN_TRAINING.
"""

import re

from codefit.code.lexer import IDENTIFIER
from codefit.records import Prediction

NOT_IN_TRAINING = "names_not_in_training"  # in the scores of a prediction: how many names of its reference

ALL_IN_PROMPT = "all in the prompt"
NO_PLACE = "not of a later commit"

TITLES = {
    "line": "Kind of line",
    "length": "Length of the reference",
    "names": "New names",
    "cursor": "Cursor",
    "place": "Kind of place",
}

# The first rule that matches decides. The words are those of Python, Kotlin, Java, JavaScript, TypeScript and Go.
MODIFIERS = (
    r"(?:(?:public|private|protected|internal|static|final|abstract|override|open|async|export|default|inline|suspend"
    r"|data|sealed|inner|lateinit|const)\s+)*"
)
LINES = (
    ("comment", re.compile(r"(?:#|//|/\*|\*|\"\"\"|''')")),
    ("closing", re.compile(r"[\s)\]};,]*$")),
    ("import", re.compile(r"(?:import|from|package|using|require)\b")),
    ("signature", re.compile(rf"(?:@|{MODIFIERS}(?:def|fun|func|function|class|interface|object|enum|struct)\b)")),
    (
        "control flow",
        re.compile(
            r"[}\s]*(?:if|elif|else|for|while|do|switch|case|when|match|try|catch|except|finally|with|return|raise"
            r"|throw|yield|break|continue|pass|assert|del|go|defer)\b"
        ),
    ),
    ("assignment", re.compile(r"[^=(]*[^=!(\s]\s*(?::=|(?<![=!<>])=(?!=))")),
    ("call", re.compile(r"(?:await\s+|new\s+)?[\w.]+\s*\(")),
)
LENGTHS = ((10, "1 to 10"), (40, "11 to 40"), (160, "41 to 160"))


def of(item: Prediction) -> dict[str, str]:
    """Return the group of an item for each kind of group."""
    return {
        "line": line_kind(item),
        "length": length(item),
        "names": new_names(item),
        "cursor": cursor(item),
        "place": item.place or NO_PLACE,
    }


def line_kind(item: Prediction) -> str:
    """Return the kind of the cursor's line, or of the next line with text if that line is empty."""
    before = item.prompt.rpartition("\n")[2]
    line = (before + item.reference.partition("\n")[0]).strip() or item.reference.strip().partition("\n")[0]
    return next((name for name, rule in LINES if rule.match(line)), "other")


def length(item: Prediction) -> str:
    """Return the length class of the reference, in characters without surrounding white space."""
    characters = len(item.reference.strip())
    return next((name for most, name in LENGTHS if characters <= most), "over 160")


def names(prompt: str, reference: str) -> set[str]:
    """Return the identifiers of a reference; one that the cursor cuts counts with its part in the prompt."""
    head = re.search(r"\w*$", prompt)
    return set(IDENTIFIER.findall((head[0] if head else "") + reference))


def new_names(item: Prediction) -> str:
    """Return whether the names of the reference occur in the prompt or after the cursor."""
    around = re.sub(r"\w*$", "", item.prompt) + " " + (item.suffix or "")
    if names(item.prompt, item.reference) <= set(IDENTIFIER.findall(around)):
        return ALL_IN_PROMPT
    return "some not in training either" if item.scores.get(NOT_IN_TRAINING) else "some not in the prompt"


def cursor(item: Prediction) -> str:
    """Return the cursor's position in its line; after indentation counts as the start of the line."""
    if not item.prompt.rpartition("\n")[2].strip():
        return "line start"
    inside = re.search(r"\w$", item.prompt) and re.match(r"\w", item.reference)
    return "inside a word" if inside else "in the line"
