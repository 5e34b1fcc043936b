"""Independent statements of metrics, and texts to compare them on."""

import collections
import math
import random

ALPHABETS = ("ab (", "abcdef_().=: \n", "été привет 日本語 👋\t", "x")


def random_texts(seed: int, count: int, alphabet: str | None = None) -> list[str]:
    draw = random.Random(seed)
    lengths = (draw.choice((0, 1, 2, 5, 20, 120)) for _ in range(count))
    return ["".join(draw.choices(alphabet or draw.choice(ALPHABETS), k=length)) for length in lengths]


def random_pairs(seed: int, count: int = 200) -> tuple[list[str], list[str]]:
    """Texts in which some predictions are near their reference, some equal and some have nothing to do with it."""
    draw = random.Random(seed)
    references = random_texts(seed, count)
    strangers = random_texts(seed + 1, count)
    near = [text[: draw.randrange(len(text) + 1)] + draw.choice(("", " b", "\n")) for text in references]
    choices = zip(references, strangers, near, strict=True)
    return [draw.choice(choice) for choice in choices], references


def common_subsequence(a: str, b: str) -> int:
    row = [0] * (len(b) + 1)
    for x in a:
        diagonal = 0
        for column, y in enumerate(b, 1):
            diagonal, row[column] = row[column], max(row[column], row[column - 1], diagonal + (x == y))
    return row[-1]


def independent_bleu(predictions: list[str], references: list[str]) -> float:
    """Papineni's corpus BLEU with one added to matches and totals of all four orders, stated plainly."""
    logarithms, lengths = 0.0, [0, 0]
    for order in (1, 2, 3, 4):
        matches = total = 0
        for prediction, reference in zip(predictions, references, strict=True):
            found, wanted = (
                collections.Counter(" ".join(words[at : at + order]) for at in range(len(words) - order + 1))
                for words in (prediction.split(), reference.split())
            )
            matches += sum((found & wanted).values())
            total += sum(found.values())
        logarithms += math.log((matches + 1) / (total + 1)) / 4
    for side, texts in enumerate((predictions, references)):
        lengths[side] = sum(len(text.split()) for text in texts)
    if not lengths[0]:
        return 0.0
    return 100 * math.exp(logarithms + min(0.0, 1 - lengths[1] / lengths[0]))
