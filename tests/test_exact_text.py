"""Prompt and completion are the text, byte for byte, for the tokenizers of all kinds of models."""

import json
import random

import pytest
import torch
import transformers
from tokenizers import AddedToken, Regex, Tokenizer, decoders, normalizers, pre_tokenizers, processors, trainers
from tokenizers.models import BPE, WordLevel, WordPiece

from codefit import exact_text
from codefit.encoding import Encoder
from codefit.errors import UserError
from codefit.modeling import pre_tokenizers as splitting
from codefit.records import Pair
from codefit.tasks import token_offsets
from tests.support.texts import SOURCES

TEXTS_TO_LEARN = [path.read_text(encoding="utf-8") for path in SOURCES][:12]
SPECIAL = ["<unk>", "<s>", "</s>", "<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"]
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
SPACES = decoders.Replace("\u2581", " ")


def sentencepiece(normalizer=None, splitter=None, strip=True):
    """A tokenizer with byte fallback, as those converted from SentencePiece."""
    made = Tokenizer(BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never")
    learn = trainers.BpeTrainer(vocab_size=900, special_tokens=[*SPECIAL, *BYTES], show_progress=False)
    made.train_from_iterator(TEXTS_TO_LEARN, learn)
    content = json.loads(made.to_str())
    content["added_tokens"] = [token for token in content["added_tokens"] if token["content"] not in BYTES]
    made = Tokenizer.from_str(json.dumps(content))
    made.normalizer, made.pre_tokenizer = normalizer, splitter
    ends = [decoders.Strip(" ", 1, 0)] if strip else []
    made.decoder = decoders.Sequence([SPACES, decoders.ByteFallback(), decoders.Fuse(), *ends])
    made.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return made


def byte_level(*steps, normalizer=None, prefix=False):
    """A tokenizer of bytes, as those of GPT-2's kin."""
    made = Tokenizer(BPE())
    made.normalizer = normalizer
    last = pre_tokenizers.ByteLevel(add_prefix_space=prefix, use_regex=not steps)
    made.pre_tokenizer = pre_tokenizers.Sequence([*steps, last])
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    learn = trainers.BpeTrainer(vocab_size=900, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False)
    made.train_from_iterator(TEXTS_TO_LEARN, learn)
    return made


def splits(*patterns):
    return [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in patterns]


def legacy():
    return normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])


def spaces_within_tokens():
    made = byte_level()
    made.add_tokens([AddedToken("    ", normalized=False), AddedToken("<extra>", lstrip=True, rstrip=True)])
    return made


def metaspace(scheme):
    return lambda: sentencepiece(splitter=pre_tokenizers.Metaspace(prepend_scheme=scheme))


STYLES = {
    "Llama 2 and CodeLlama": lambda: sentencepiece(legacy()),
    "Metaspace, always": metaspace("always"),
    "Metaspace, first": metaspace("first"),
    "Metaspace, never": lambda: sentencepiece(splitter=pre_tokenizers.Metaspace(prepend_scheme="never"), strip=False),
    "Gemma": lambda: sentencepiece(normalizers.Replace(" ", "\u2581"), strip=False),
    "GPT-2": byte_level,
    "RoBERTa, with a space in front": lambda: byte_level(prefix=True),
    "Qwen 2, NFC": lambda: byte_level(*splits(splitting.QWEN2), normalizer=normalizers.NFC()),
    "Llama 3": lambda: byte_level(*splits(splitting.LLAMA3)),
    "DeepSeek": lambda: byte_level(*splits(*splitting.DEEPSEEK), pre_tokenizers.Digits(True)),
    "StarCoder, digits": lambda: byte_level(pre_tokenizers.Digits(True), *splits(r"\s?\p{L}+")),
    "Phi, runs of spaces": spaces_within_tokens,
}


def word_piece():
    made = Tokenizer(WordPiece(unk_token="[UNK]"))
    made.normalizer, made.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    made.decoder = decoders.WordPiece()
    made.train_from_iterator(
        TEXTS_TO_LEARN, trainers.WordPieceTrainer(vocab_size=900, special_tokens=["[UNK]"], show_progress=False)
    )
    return made


def words():
    made = Tokenizer(WordLevel(unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.train_from_iterator(TEXTS_TO_LEARN, trainers.WordLevelTrainer(special_tokens=SPECIAL, show_progress=False))
    return made


def without_bytes():
    made = sentencepiece(legacy())
    content = json.loads(made.to_str())
    content["model"]["byte_fallback"] = False
    return Tokenizer.from_str(json.dumps(content))


LOSSY = {
    "WordPiece": word_piece,
    "words": words,
    "no byte fallback": without_bytes,
    "NFKC": lambda: byte_level(normalizer=normalizers.NFKC()),
    "lower case": lambda: byte_level(normalizer=normalizers.Lowercase()),
    "no decoder": lambda: Tokenizer.from_str(json.dumps({**json.loads(byte_level().to_str()), "decoder": None})),
}
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
    texts = [text for text in TEXTS if exact_text.MARK not in text]  # which is one token there and three here
    found = token_offsets.token_starts(counting, texts)
    assert [len(starts) for starts in found] == [len(ids) for ids in encoder.ids(texts)]
    for starts, text in zip(found, texts, strict=True):
        assert starts == sorted(starts)
        assert all(0 <= start < len(text) for start in starts)


@pytest.mark.parametrize("style", LOSSY)
def test_a_tokenizer_that_loses_text_is_refused(style):
    with pytest.raises(UserError, match=r"the tokenizer of .* does not give every text back as it was \(.* becomes"):
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
