"""Reading of JSON files from outside codefit, checked against types that are defined once per kind of file.

An error becomes one sentence with the file, the field, what is expected there, and what to do.
"""

import json
import re
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec

from codefit.errors import UserError

Kind = TypeVar("Kind")
Count = Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]

WORDS = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "str": "text",
    "array": "a list",
    "object": "an object",
}


def read(path: Path, kind: type[Kind], remedy: str) -> Kind:
    """Return the content of a JSON file as an instance of a type; fields that the type does not have are ignored.

    Args:
        path: the file.
        kind: a msgspec struct, or another type that msgspec can convert to.
        remedy: what to do if the file is damaged, as the end of a sentence.

    Raises:
        UserError: the file cannot be read, is not JSON, or a field is missing or of the wrong type.
    """
    return checked(load(path, remedy), kind, str(path), remedy)


def load(path: Path, remedy: str) -> Any:
    """Return the content of any JSON file; NaN and Infinity are allowed, as Python writes them.

    Raises:
        UserError: the file cannot be read or is not JSON.
    """
    try:
        text = path.read_text(encoding="utf-8")
        content = json.loads(text)
        if "\\ud" in text.lower() and _holds_half_a_pair(content):
            raise ValueError("a text in it contains a lone surrogate (not valid Unicode)")
        return content
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}; {remedy}.") from None
    except RecursionError:
        raise UserError(f"{path} is not usable JSON: it is nested too deeply; {remedy}.") from None
    except ValueError as error:
        raise UserError(f"{path} is not valid JSON ({error}); {remedy}.") from None


def _holds_half_a_pair(content: Any) -> bool:
    try:
        json.dumps(content, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return True
    return False


def checked(content: Any, kind: type[Kind], place: str, remedy: str) -> Kind:
    """Return content as an instance of a type.

    Raises:
        UserError: a field is missing or of the wrong type; the message names `place`.
    """
    try:
        return msgspec.convert(content, kind)
    except RecursionError:
        raise UserError(f"{place} is nested too deeply; {remedy}.") from None
    except msgspec.ValidationError as error:
        raise UserError(f"{place}: {_in_words(str(error))}; {remedy}.") from None
    except UnicodeEncodeError:
        raise UserError(f"{place} contains a lone surrogate (not valid Unicode); {remedy}.") from None


def _in_words(message: str) -> str:
    """Return a message of msgspec, such as "Expected `int`, got `str` - at `$.r`", in plain words."""
    what, _, where = message.partition(" - at ")
    field = where.strip("`").removeprefix("$").removeprefix(".")
    subject = f'the field "{field}"' if field else "the file"
    if found := re.fullmatch(r"Object missing required field `(.*)`", what):
        return f'the field "{f"{field}." if field else ""}{found[1]}" is missing'
    if found := re.fullmatch(r"Expected `([^`]*)`(.*?)(?:, got `(.*)`)?", what):
        expected = " or ".join(WORDS.get(word, word) for word in found[1].split(" | "))
        got = f", not {WORDS.get(found[3], found[3])}" if found[3] else ""
        return f"{subject} must be {expected}{found[2]}{got}"
    return f"{subject} has an invalid value ({what})"
