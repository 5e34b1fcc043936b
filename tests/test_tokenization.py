"""Prompt and completion are the text, byte for byte, for the tokenizers of all kinds of models."""

import random

import pytest
import torch
import transformers

from codefit import tokenization
from codefit.encoding import Encoder
from codefit.errors import UserError
from codefit.records import Pair
from codefit.tasks import token_offsets
from tests.support.tokenizer_styles import LOSSY, STYLES

PIECES = [
    *(" ", "  ", "    ", "\t", "\n", "\r\n", "\n\n", "x", "foo", "return", "(", ")", ";", "0", "12345", "'s", "_", "-"),
    *("日本語", "漢", "é", "e\u0301", "Ж", "😀", "👩\u200d💻", "\u00a0", "\u200b", "\u3000", "\ufeff", "\u2581", "ﬁ"),
    *("<s>", "</s>", "<unk>", "<|fim_prefix|>", "<|fim_middle|>", "<|endoftext|>", "\u2581<PRE>", "[INST]", "<extra>"),
]
CHANCE = random.Random(0)
TEXTS = ["", " foo", "    return x", "\tx", *PIECES]
TEXTS += ["".join(CHANCE.choices(PIECES, k=CHANCE.randint(1, 12))) for _ in range(200 - len(TEXTS))]


def encoder_of(made, room=10_000):
    eos, bos = "</s>", "<s>"
    return Encoder(transformers.PreTrainedTokenizerFast(tokenizer_object=made, eos_token=eos, bos_token=bos), room)


def pair_of(prompt, completion, **more):
    facts = {"finish_reason": "stop", "path": "a.py", "language": "python"}
    return Pair(id="1", task="completion", prompt=prompt, completion=completion, **facts, **more)


@pytest.fixture(scope="module", params=STYLES)
def encoder(request):
    return encoder_of(STYLES[request.param]())


def test_a_completion_is_given_back_byte_for_byte(encoder):
    assert [encoder.decode(ids) for ids in encoder.ids(TEXTS)] == TEXTS
    assert [encoder.decode(encoder.completion_ids(text)) for text in TEXTS] == TEXTS


def test_prompt_and_completion_are_the_text_in_training_and_when_asked(encoder):
    for number, completion in enumerate(TEXTS):
        prompt = TEXTS[number * 7 % len(TEXTS)]
        pair = pair_of(prompt, completion)
        (sample,) = encoder.samples([pair])
        asked = encoder.pair_ids(pair)
        assert sample.ids[: sample.start].tolist() == asked == encoder.prompt_ids(prompt)
        assert sample.ids[sample.start :].tolist() == [*encoder.completion_ids(completion), encoder.eos_id]
        written = encoder.decode(sample.ids.tolist())
        assert written == (encoder.codec.prefix if prompt else "") + prompt + completion


def test_the_parts_of_an_infill_are_the_text(encoder):
    for number, suffix in enumerate(TEXTS):
        prompt = TEXTS[number * 11 % len(TEXTS)]
        ids = encoder.prompt_ids(prompt, suffix)
        assert encoder.decode(ids) == (encoder.codec.prefix if prompt else "") + prompt + suffix
        assert len(set(encoder.special.values()) & set(ids)) == 3


def test_a_prompt_begins_as_the_models_own_tokenizer_begins_a_text(encoder):
    for text in ("def f(x):\n    return", "foo", "x = 1"):
        assert encoder.prompt_ids(text) == encoder.tokenizer(text).input_ids


def test_counting_sees_the_tokens_of_training(encoder, tmp_path):
    encoder.tokenizer.backend_tokenizer.save(str(tmp_path / "tokenizer.json"))
    counting = token_offsets.load_tokenizer(str(tmp_path))
    texts = [text for text in TEXTS if tokenization.MARK not in text]  # which is one token there and three here
    found = token_offsets.token_starts(counting, texts)
    assert [len(starts) for starts in found] == [len(ids) for ids in encoder.ids(texts)]
    for starts, text in zip(found, texts, strict=True):
        assert starts == sorted(starts)
        assert all(0 <= start < len(text) for start in starts)


@pytest.mark.parametrize("style", LOSSY)
def test_a_tokenizer_that_loses_text_is_refused(style):
    with pytest.raises(UserError, match=r"the tokenizer of .* does not round-trip every text \(.* becomes"):
        encoder_of(LOSSY[style]())


def test_a_chat_message_is_the_text():
    made = encoder_of(STYLES["Llama 2 and CodeLlama"]())
    made.tokenizer.chat_template = "{% for m in messages %}[INST] {{ m.content }} [/INST]{% endfor %}"
    made.tokenizer.chat_template = "{{ bos_token }}" + made.tokenizer.chat_template
    for text in TEXTS:
        pair = pair_of(text, "x", prompt_format="chat")
        assert encoder_text(made, made.pair_ids(pair)) == f"[INST] {text} [/INST]"


def encoder_text(encoder, ids):
    return encoder.decode(ids).removeprefix(encoder.codec.prefix)


def test_a_base_that_predicts_perfectly_misses_no_reference():
    """Indentation and leading spaces, which a SentencePiece tokenizer takes for those of a beginning."""
    encoder = encoder_of(STYLES["Llama 2 and CodeLlama"]())
    references = [" foo", "    return x", "foo", "\n    x", "  # a", " "]
    assert [encoder.decode(torch.tensor(ids).tolist()) for ids in encoder.ids(references)] == references
