"""Parse rate: the share of predictions that give code with no more syntax errors than their references.

Prompt, prediction and suffix are parsed by tree-sitter as one text, and so are prompt, reference and suffix. A prompt
is a piece of a file, so both texts may have errors at their ends; the metric asks whether the prediction adds any.
"""

from collections.abc import Sequence

from codefit.code.languages import LANGUAGES
from codefit.code.syntax import Syntax
from codefit.records import Prediction
from codefit.scoring.metric import Metric, library

LIBRARY = library("tree-sitter")


class ParseRate(Metric):
    """The share of predictions without new syntax errors, in percent."""

    name = "parse_rate"
    label = "Parse rate"

    def applies(self, items: Sequence[Prediction]) -> bool:
        """Return whether the language of every item has a grammar."""
        return all(item.language in LANGUAGES for item in items)

    def of_item(self, item: Prediction) -> tuple[float, float]:
        """Return (100 or 0, 1)."""
        language, suffix = LANGUAGES[item.language], item.suffix or ""
        found, wanted = (
            Syntax(item.prompt + text + suffix, language).errors() for text in (item.prediction, item.reference)
        )
        return 100.0 * (found <= wanted), 1.0

    def signature(self, n: int) -> str:
        """Return the signature of a value of n items."""
        return f"{self.name}|errors:no-more-than-reference|round:none|n:{n}|lib:{LIBRARY}"


PARSE_RATE = ParseRate()
