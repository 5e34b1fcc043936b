"""The tokenizers of a model from scratch: their splits, that they are lossless, and that they load anywhere."""

import pytest
import transformers

from codefit.encoding import Encoder
from codefit.training import scratch, scratch_flags
from tests.support.texts import SOURCES

NASTY = {
    "empty": "",
    "indentation": "if a:\n    if b:\n\t\treturn  x\n \n\n    \n",
    "line ends": "a = 1\r\nb = 2\rc = 3\n\r\n",
    "trailing space": "x = 1   \n  \ty\t \n",
    "humps": "getHTTPResponseCode XMLHttpRequest aB Ab ABC aBC iOS a1B2 IOError",
    "underscores": "__init__ _x x_ __all__,_ snake_case_name SNAKE_CASE a__b _",
    "not Latin": "\u53d8\u91cf\u540d foo\u5909\u6570Bar \u0645\u0631\u062d\u0628\u0627",
    "not English": "na\u00efve \u00c4\u00d6\u00dc \u00df stra\u00dfeName",
    "combining": "e\u0301 \u01c4abc \u01c5z \u0130i \ufb01n \u200b\u200d\ufeff x",
    "outside the plane": "\U0001f600 = '\U0001d4d0\U0001f1e9\U0001f1ea'",
    "control": "\x00\x01\x1b[0m \x7f\x85\u2028\u2029\xa0\u3000end",
    "special as text": "print('<|endoftext|><fim_prefix><|pad|>')",
    "operators": "a**=-b//c->d:=e!=f@g...<<=>>#!/usr/bin/env",
}


@pytest.fixture(scope="module", params=scratch_flags.TOKENIZERS)
def tokenizer(request):
    return scratch.train_tokenizer((path.read_text() for path in SOURCES), 900, 512, request.param)


@pytest.mark.parametrize("text", NASTY.values(), ids=NASTY)
def test_texts_round_trip(tokenizer, text):
    encoder = Encoder(tokenizer, 64)
    ids = encoder.ids([text])[0]
    assert encoder.decode(ids) == text
    assert not set(ids) & set(tokenizer.all_special_ids)


def test_source_round_trips_and_newlines_are_separate_tokens(tokenizer):
    encoder = Encoder(tokenizer, 64)
    for path in SOURCES:
        ids = encoder.ids([path.read_text()])[0]
        assert encoder.decode(ids) == path.read_text()
    newlines = [token for token in tokenizer.get_vocab() if "\u010a" in token]  # as byte-level BPE writes a newline
    assert newlines == ["\u010a"]


def pieces(kind, text):
    made = scratch.train_tokenizer(["a"], 300, 64, kind)
    found = made.backend_tokenizer.pre_tokenizer.pre_tokenize_str(text)
    return [text[start:end] for _, (start, end) in found]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("getHTTPResponse", ["get", "HTTP", "Response"]),
        (" myXMLParser2", [" my", "XML", "Parser", "2"]),
        ("snake_case__name", ["snake", "_", "case", "__", "name"]),
        ("    return _x", ["   ", " return", " _", "x"]),
        ("__init__,\n", ["__", "init", "__", ",", "\n"]),
        ("MAX_SIZE = IOError", ["MAX", "_", "SIZE", " =", " IO", "Error"]),
        ("aB Ab \u00e4\u00d6l", ["a", "B", " Ab", " \u00e4", "\u00d6l"]),
        ("foo\u5909\u6570Bar", ["foo", "\u5909\u6570", "Bar"]),
    ],
)
def test_identifiers_are_split_into_words(text, found):
    assert pieces("identifier", text) == found


def test_bpe_keeps_a_word_in_one_piece():
    assert pieces("bpe", " getHTTPResponse = 1") == [" getHTTPResponse", " = ", "1"]


def test_whole_names_are_not_tokens_and_rare_parts_are_spelled_out(tmp_path):
    often = "value = readFileName\n" * 50
    rare = "Zyxwvu\n" * (scratch.RAREST_MERGE["identifier"] - 1)
    found = {
        kind: set(scratch.train_tokenizer([often + rare], 5000, 64, kind).get_vocab())
        for kind in scratch_flags.TOKENIZERS
    }
    assert "\u0120readFileName" in found["bpe"]
    assert "Zyxwvu" in found["bpe"]
    assert {"\u0120read", "File", "Name"} <= found["identifier"]
    assert not {token for token in found["identifier"] if "readFile" in token or "FileName" in token or "Zy" in token}


def test_it_loads_without_custom_code(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    loaded = transformers.AutoTokenizer.from_pretrained(tmp_path)
    text = "".join(NASTY.values())
    assert loaded(text).input_ids == tokenizer(text).input_ids
    assert loaded.eos_token_id == tokenizer.eos_token_id
    assert not list(tmp_path.glob("*.py"))
