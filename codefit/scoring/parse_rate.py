"""Parse rate: the share of predictions that leave the code with no more syntax errors than their references do.

Prompt, prediction and suffix are parsed by tree-sitter as one text, and so are prompt, reference and suffix. A prompt
is a piece of a file, so that both texts may have errors at its ends; what counts is whether the prediction adds any.
"""

import importlib.metadata
from collections.abc import Sequence

from codefit.code.languages import LANGUAGES
from codefit.code.syntax import Syntax
from codefit.records import Prediction
from codefit.scoring.statistics import mean

NAME = "parse_rate"
LABEL = "Parse rate"
UNIT = "%"
HIGHER_IS_BETTER = True
LIBRARY = f"tree-sitter {importlib.metadata.version('tree-sitter')}"


def applies(items: Sequence[Prediction]) -> bool:
    """Return whether the language of every item has a grammar."""
    return all(item.language in LANGUAGES for item in items)


def of_item(item: Prediction) -> tuple[float, float]:
    """Return (100 or 0, 1)."""
    language, suffix = LANGUAGES[item.language], item.suffix or ""
    found, wanted = (
        Syntax(item.prompt + text + suffix, language).errors() for text in (item.prediction, item.reference)
    )
    return 100.0 * (found <= wanted), 1.0


value = mean


def signature(n: int) -> str:
    """Return how the number was made."""
    return f"{NAME}|errors:no-more-than-reference|round:none|n:{n}|lib:{LIBRARY}"
