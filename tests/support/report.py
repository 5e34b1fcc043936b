"""Predictions of planted models, and their comparison."""

import dataclasses

import msgspec

from codefit.evaluation import comparison
from codefit.evaluation.result_schema import BenchmarkInfo, Model, Role
from codefit.records import Prediction

ATTACK = "</script><script>document.title='owned'</script><!-- <img src=x onerror=alert(1)> <!--{title}--> &amp;"
PROMPT = "import math\n\n\ndef area(radius):\n    # the area of a circle, from its radius\n    return "
REFERENCE = "math.pi * radius ** 2\n"


def word(number):
    """Return a word for a number: prompts that differ in numbers only are taken for one."""
    return "".join(chr(ord("a") + int(digit)) for digit in str(number))


def prediction(number=0, text=REFERENCE, reason="stop", **changes):
    scores = {"nats": 10.0 + number % 5, "tokens": 9}
    prompt = f"# {word(number)}\n{PROMPT}"
    item = Prediction(f"item{number}", prompt, text, REFERENCE, reason, scores, f"file{number // 3}.py")
    return dataclasses.replace(item, **changes)


def wrong(number):
    """Return a prediction with a small error and none of the planted defects."""
    return prediction(number, text=f"math.tau + radius{number}\n", scores={"nats": 14.0 + number % 3, "tokens": 9})


MODELS = {
    "base": Model(name="some/base", label="base", role=Role.BASE),
    "adapted": Model(name="some/adapter", label="adapted", role=Role.ADAPTED),
}
HELD_OUT = BenchmarkInfo(title="held-out code")
BASE = [wrong(number) for number in range(30)]
ADAPTED = [prediction(number) if number % 3 else wrong(number) for number in range(30)]


def compared(base=BASE, adapted=ADAPTED, **options):
    scored = {"heldout": {"base": comparison.score_items(base), "adapted": comparison.score_items(adapted)}}
    return comparison.scores(scored, MODELS, {"heldout": HELD_OUT}, {}, seed=0, **options), scored


def attacked():
    """Return predictions whose texts all try to inject markup."""
    changes = {"id": ATTACK, "prompt": ATTACK, "prediction": ATTACK, "reference": ATTACK, "path": ATTACK}
    return [dataclasses.replace(prediction(), **changes, suffix=ATTACK)]


def measured(name, rows=None):
    """Return the scores of an adapted model of this name, with other rows of metrics where they are given."""
    content, _ = compared()
    adapted = msgspec.structs.replace(MODELS["adapted"], name=name)
    result = content.benchmarks["heldout"]
    heldout = msgspec.structs.replace(result, metrics=result.metrics if rows is None else rows)
    return msgspec.structs.replace(content, models={**MODELS, "adapted": adapted}, benchmarks={"heldout": heldout})
