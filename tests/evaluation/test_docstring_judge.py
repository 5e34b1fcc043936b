"""A judge of docstrings: what it is asked, the expected rating from the logits, and whether it can tell pairs apart."""

import dataclasses
import random

import pytest
import torch
import transformers

from codefit.code.languages import LANGUAGES
from codefit.encoding import Encoder
from codefit.errors import UserError
from codefit.evaluation import docstring_judge
from codefit.evaluation.docstring_judge import Separation
from codefit.tasks.instructions import PROMPT_FORMATS, code_of, question
from tests.support import benchmark
from tests.support.docstrings import CODE, PAIRS

TEMPLATE = "{% for message in messages %}<{{ message.content }}>{% endfor %}{% if add_generation_prompt %}={% endif %}"


@pytest.fixture(scope="module")
def judge():
    torch.manual_seed(1)
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = transformers.LlamaConfig(vocab_size=257, eos_token_id=256, bos_token_id=None, **sizes)
    config.initializer_range = 0.4
    tokenizer = benchmark.new_tokenizer()
    tokenizer.chat_template = TEMPLATE
    return transformers.LlamaForCausalLM(config).eval(), Encoder(tokenizer, 4096)


@pytest.mark.parametrize("prompt_format", PROMPT_FORMATS)
@pytest.mark.parametrize("language", ["python", "kotlin"])
def test_the_code_of_a_prompt_comes_back(prompt_format, language):
    known = LANGUAGES[language]
    assert code_of(question(CODE, known, prompt_format, "Docstring of it", "Write it."), known) == CODE


def test_the_judge_sees_class_and_docstring_and_no_other_instruction():
    asked = docstring_judge.question(PAIRS[2])
    assert "class Reader2:" in asked
    assert '"Reads many many lines."' in asked
    assert "Docstring of it" not in asked


def test_a_rating_is_the_mean_of_the_digits_weighted_by_their_probabilities(judge):
    model, encoder = judge
    found = docstring_judge.ratings(model, encoder, PAIRS)  # of several lengths, so with padding
    assert len({rating.value for rating in found}) == len(PAIRS)
    for each, rating in zip(PAIRS, found, strict=True):
        ids = torch.tensor([list(f"<{docstring_judge.question(each)}>=".encode())])
        letters = encoder.tokenizer.get_vocab()
        rows = torch.tensor([[letters[encoder.tokenizer.tokenize(chr(byte))[0]] for byte in ids[0].tolist()]])
        shares = model(rows).logits[0, -1].double().softmax(-1)
        five = [float(shares[letters[str(digit)]]) for digit in range(1, 6)]
        expected = sum(digit * share for digit, share in enumerate(five, 1)) / sum(five)
        assert rating.value == pytest.approx(expected, abs=1e-4)
        assert rating.certainty == pytest.approx(sum(five), rel=1e-3)


def test_a_judge_without_a_chat_template_or_digits_is_one_sentence(judge, monkeypatch):
    model, encoder = judge
    with pytest.raises(UserError, match="has no chat template"):
        docstring_judge.ratings(model, Encoder(benchmark.new_tokenizer(), 4096), PAIRS)
    monkeypatch.setattr(docstring_judge, "RATINGS", (9, 10))
    with pytest.raises(UserError, match="the judge's tokenizer has no token for the digit 10; choose another model"):
        docstring_judge.ratings(model, encoder, PAIRS)


@pytest.mark.parametrize("count", [2, 3, 6])
def test_every_class_gets_the_docstring_of_another_one(count):
    pairs = PAIRS[:count]
    other = docstring_judge.swapped(pairs, 3)
    assert sorted(each.completion for each in other) == sorted(each.completion for each in pairs)
    assert all(one.completion != two.completion for one, two in zip(pairs, other, strict=True))
    assert [dataclasses.replace(each, completion="") for each in other] == [
        dataclasses.replace(each, completion="") for each in pairs
    ]


def test_the_area_under_the_curve():
    assert docstring_judge.auc([3, 4], [1, 2]) == Separation(1, 1, 1)
    assert docstring_judge.auc([1, 2], [3, 4]) == Separation(0, 0, 0)
    assert docstring_judge.auc([2, 2, 2], [2, 2, 2]) == Separation(0.5, 0.5, 0.5)
    assert docstring_judge.auc([1, 3, 5], [2, 3, 4]).value == pytest.approx((0 + 0 + 0 + 1 + 0.5 + 0 + 1 + 1 + 1) / 9)


def test_the_area_of_many_ratings_needs_little_memory():
    many = [at / 300_000 for at in range(300_000)]
    found = docstring_judge.auc([value + 0.5 for value in many], many)
    assert found.value == pytest.approx(0.875, abs=1e-4)
    assert found.low < found.value < found.high


def test_the_interval_holds_the_truth_about_as_often_as_it_says():
    """Two ratings of a class share what the judge thinks of the class; the true area of a shift of 1 is 0.714."""
    drawn, hits, runs = random.Random(0), 0, 400
    for _ in range(runs):
        shared = [drawn.gauss(0, 1) for _ in range(60)]
        own = [value + drawn.gauss(1.0, 0.75) for value in shared]
        other = [value + drawn.gauss(0, 0.75) for value in shared]
        found = docstring_judge.auc(own, other)
        hits += found.low <= 0.7142 <= found.high
    assert 0.92 <= hits / runs <= 0.98
