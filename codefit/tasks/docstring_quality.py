"""Rules for docstrings that are worth learning from, for the task summary.

A docstring is poor if it is unfinished, if it hardly says more than the name of the class, or if it describes
parameters that the class does not have. The limits are codefit's own; docs/tasks.md says what they
leave out of Airflow.
"""

import re
from collections.abc import Iterable

import snowballstemmer

from codefit.code import names
from codefit.code.lexer import IDENTIFIER

LEAST_DESCRIPTION = 8  # words before the first parameter, section or example
LEAST_NEW = 4  # different words of the description that are neither in the name nor common
UNFINISHED = re.compile(r"\b(?:TODO|FIXME|XXX|TBD)\b")
# Where a description ends: a field of Sphinx, a tag of Javadoc or KDoc, a section of Google or NumPy, an example.
AFTER_DESCRIPTION = re.compile(
    r"^[ \t]*(?::\w+[^:\n]*:|@\w+|\.\. |>>> |```|"
    r"(?:Args|Arguments|Parameters|Attributes|Returns|Raises|Yields|Examples?|Notes?)\s*(?::|\n\s*-{3,}))",
    re.M,
)
PARAMETER = re.compile(r"^\s*(?::param(?:eter)?\s+(?:[^:\n]*?\s)?|@param\s+)\*{0,2}([^\W\d]\w*)", re.M)
GOOGLE = re.compile(r"^([ \t]*)(?:Args|Arguments|Parameters):[ \t]*\n((?:\1[ \t]+\S.*(?:\n|$)|[ \t]*\n)+)", re.M)
GOOGLE_NAME = re.compile(r"\*{0,2}([^\W\d]\w*)\s*(?:\([^)\n]*\))?:")
COMMON = """
    a an and any are as at be by can class define for from function has have helper in instance into is it its method
    object of on or represent simple that the this to type use which with wrapper
"""


def fault(docstring: str, name: str, code: str) -> str:
    """Return what is wrong with the docstring of a class, in a few words; "" for nothing.

    Args:
        docstring: its text, without quotes.
        name: the name of the class.
        code: the class without its docstring.
    """
    if UNFINISHED.search(docstring):
        return "unfinished docstring"
    words = re.findall(r"\w+", description(docstring))
    if len(words) < LEAST_DESCRIPTION:
        return f"description under {LEAST_DESCRIPTION} words"
    if len(stems(words) - stems(names.parts(name)) - stems(COMMON.split())) < LEAST_NEW:
        return "docstring repeats the name"
    if parameters(docstring) - set(IDENTIFIER.findall(code)):
        return "docstring with parameters that do not exist"
    return ""


def description(docstring: str) -> str:
    """Return a docstring up to its first parameter, section or example."""
    end = AFTER_DESCRIPTION.search(docstring)
    return docstring[: end.start()] if end else docstring


def parameters(docstring: str) -> set[str]:
    """Return the names of the parameters that a docstring describes, in the styles of Sphinx, Google and Javadoc."""
    found = set(PARAMETER.findall(docstring))
    for section in GOOGLE.finditer(docstring):
        lines = section[2].splitlines()
        indents = [len(line) - len(line.lstrip()) for line in lines if line.strip()]
        first = [line for line in lines if line.strip() and len(line) - len(line.lstrip()) == min(indents)]
        found |= {name[1] for line in first if (name := GOOGLE_NAME.match(line.strip()))}
    return found


def stems(words: Iterable[str]) -> set[str]:
    """Return the stems of English words, in lower case."""
    return set(snowballstemmer.stemmer("english").stemWords([word.lower() for word in words]))
