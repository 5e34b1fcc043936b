"""The tokenizer without its model: where tokens start, in pieces and in the whole, and what cannot be read."""

import pytest
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, processors, trainers

from codefit.errors import UserError
from codefit.manifest import ROOT
from codefit.tasks import token_offsets
from codefit.tasks.token_offsets import load_tokenizer, token_starts
from tests.support.texts import SOURCES

BASE = ROOT / "data" / "base"
PYTHON_TEXT = "\n".join(path.read_text() for path in SOURCES if path.stem.startswith("c"))


def test_token_starts_are_those_of_the_whole_text():
    tokenizer = load_tokenizer(str(BASE))
    (starts,) = token_starts(tokenizer, [PYTHON_TEXT])
    assert starts[0] == 0
    assert starts == sorted(starts)
    assert len(starts) == len(tokenizer.encode(PYTHON_TEXT).ids) > 1000


def byte_level(*splits, **more):
    """Return a tokenizer of bytes that first splits as told, trained on a text of this file."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*splits, pre_tokenizers.ByteLevel(**more)])
    return trained(tokenizer)


def trained(tokenizer):
    trainer = trainers.BpeTrainer(vocab_size=600, initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator([PYTHON_TEXT], trainer)
    return tokenizer


def sentence_piece():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(split=False)
    return trained(tokenizer)


def trimming():
    tokenizer = byte_level()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=True)
    return tokenizer


WORD_OF_QWEN = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


@pytest.mark.parametrize("piece", [40, 300])
@pytest.mark.parametrize(
    "tokenizer",
    [
        lambda: load_tokenizer(str(BASE)),
        lambda: byte_level(add_prefix_space=False),  # GPT-2, CodeGen, Phi
        lambda: byte_level(add_prefix_space=True),
        lambda: byte_level(pre_tokenizers.Digits(True), add_prefix_space=False),  # StarCoder
        lambda: byte_level(pre_tokenizers.Split(Regex(WORD_OF_QWEN), "isolated"), use_regex=False),
        trimming,
        sentence_piece,
    ],
)
def test_a_text_in_pieces_has_the_tokens_of_the_whole(tokenizer, piece, monkeypatch):
    monkeypatch.setattr(token_offsets, "PIECE", piece)
    text = PYTHON_TEXT + 'größe = "äöü 🎉"\n' * 20 + " " * 300 + "x" * 300 + "\t\n \r\n  end'll"
    made = tokenizer()
    expected = [start for start, _ in made.encode(text, add_special_tokens=False).offsets]
    assert token_starts(made, [text, "", "x"])[0] == expected


def test_a_model_without_a_tokenizer_is_one_sentence(tmp_path):
    with pytest.raises(UserError, match=r"has no tokenizer.json; give a model with a fast tokenizer"):
        load_tokenizer(str(tmp_path))
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(UserError, match=r"tokenizer.json: the field .model. is missing; get"):
        load_tokenizer(str(tmp_path))
    with pytest.raises(UserError, match=r"is neither a local folder nor readable on the Hub .*; check the path"):
        load_tokenizer("no/such/model")
    with pytest.raises(
        UserError, match=r"cannot get tokenizer.json of me/none from the Hub .*; give a local model folder"
    ):
        load_tokenizer("me/none")
