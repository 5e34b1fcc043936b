"""Scores that need something more: METEOR by NLTK, CodeBLEU, BERTScore, and what ruff finds in completions.

The tests of the last two run where their packages are installed: docs/benchmark.md says how.
"""

import importlib.util
import json
import sys

import pytest

from codefit.errors import UserError
from codefit.evaluation import bert_scores, codebleu_score, linting
from codefit.records import Document, Prediction, write_jsonl
from codefit.scoring import meteor
from runs import extra_scores

FILE = "import os\n\n\ndef area(shape):\n    return shape.width * shape.height\n\n\nprint(os.name, area)\n"
PROMPT = FILE[: FILE.index("shape.width")]
REFERENCE = "shape.width * shape.height"


def item(text, prompt=PROMPT, **facts):
    return Prediction("1", prompt, text, REFERENCE, path="a.py", language="python", repository="r", **facts)


DOCUMENTS = [Document(FILE.replace("\n", "\r\n"), "a.py", "r"), Document("x = 1\n", "b.py", "r")]


def new(*items):
    return linting.new_findings(items, linting.places(items, DOCUMENTS)).tolist()


def test_a_finding_is_new_if_the_author_did_not_have_it():
    assert new(item(REFERENCE)) == [[0, 1]]
    assert new(item("shape.width * height")) == [[1, 1]]  # undefined name
    assert new(item("width * height")) == [[2, 1]]
    assert new(item("shape.width * (")) == [[1, 1]]  # however many syntax errors follow
    assert new(item(f"{REFERENCE}\n\n\ndef more():\n    return undefined")) == [[0, 1]]  # an editor cuts it


def test_an_item_without_a_place_counts_nothing():
    other = item(REFERENCE, prompt="def of_another_file():\n    return ")
    assert new(other, item("width")) == [[0, 0], [1, 1]]
    twice = Document(FILE + FILE, "a.py", "r")
    assert linting.places([item(REFERENCE)], [twice]) == [None]
    assert linting.places([item(REFERENCE)], []) == [None]


def test_meteor_of_known_texts():
    pytest.importorskip("nltk")
    assert meteor.METEOR.of_pair("", "a b")[0] == 0
    same = "run the jobs of a queue"
    assert meteor.METEOR.of_pair(same, same)[0] == pytest.approx(
        100 * (1 - 0.5 * (1 / 6) ** 3)
    )  # one chunk of six words
    stems, strangers = (
        meteor.METEOR.of_pair(text, same)[0] for text in ("running a job in queues", "nothing here at all")
    )
    assert stems > 30 > strangers
    assert "stem:porter" in meteor.METEOR.signature(3)


def test_meteor_without_nltk_is_one_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "nltk.corpus", None)
    meteor.meanings.cache_clear()
    with pytest.raises(UserError, match=r"METEOR needs NLTK, which is not installed; run `pip install nltk==3\.10\.4`"):
        meteor.meanings()


# ---------------------------------------------------------------------------------------------- CodeBLEU


def code_bleu(*items):
    return codebleu_score.scores(items).tolist()


def test_codebleu_of_known_texts():
    pytest.importorskip("codebleu")
    whole = Prediction("1", "", "def f(a):\n    b = a + 1\n    return b\n", "", language="python")

    def against(reference, text=whole.prediction, **facts):
        changed = {**{name: getattr(whole, name) for name in whole.__slots__}, "reference": reference, **facts}
        return code_bleu(Prediction(**{**changed, "prediction": text}))[0]

    assert against(whole.prediction) == [100, 1]
    assert 0 < against(whole.prediction, "def f(a):\n    return a\n")[0] < 100
    assert against(whole.prediction, "   ") == [0, 1]
    assert against(whole.prediction, whole.prediction + "\n\nprint(f(2))\n") == [100, 1]  # an editor cuts it
    assert "lib:codebleu 0.7.0" in codebleu_score.signature(1)


def test_codebleu_gives_nothing_for_a_data_flow_that_is_all_wrong(monkeypatch):
    """The package counts a match of 0 as 1, and so would reward it."""
    parts = dict.fromkeys(codebleu_score.PARTS, 0.4)
    flows = {
        ("x = y\n", "b = a\n"): 0.0,
        ("b = a\n", "b = a\n"): 1.0,
        ("x\n", "pass\n"): 0.0,
        ("pass\n", "pass\n"): 0.0,
    }
    monkeypatch.setattr(
        codebleu_score,
        "parts_of",
        lambda text, reference, language: {**parts, codebleu_score.FLOW: flows[text, reference]},
    )
    monkeypatch.setattr(codebleu_score, "refuse_without_library", lambda: None)
    monkeypatch.setattr(codebleu_score.truncation, "as_editor", lambda item, text: text)
    wrong, without = (
        Prediction("1", "", text, reference, language="python")
        for text, reference in (("x = y\n", "b = a\n"), ("x\n", "pass\n"))
    )
    assert code_bleu(wrong, without) == [[pytest.approx(30), 1], [pytest.approx(40), 1]]


def test_codebleu_of_languages_that_it_does_not_know(monkeypatch):
    monkeypatch.setattr(codebleu_score, "refuse_without_library", lambda: None)
    monkeypatch.setattr(
        codebleu_score, "parts_of", lambda *_: dict.fromkeys([*codebleu_score.PARTS, codebleu_score.FLOW], 1)
    )
    known, unknown = (Prediction("1", "", "x", "x", language=name) for name in ("python", "kotlin"))
    assert code_bleu(known, unknown) == [[100, 1], [0, 0]]
    with pytest.raises(UserError, match="CodeBLEU knows none of the languages"):
        code_bleu(unknown)


# ---------------------------------------------------------------------------------------------- BERTScore


@pytest.fixture
def bert(tmp_path):
    """A folder with a random BERT of two layers."""
    import tokenizers
    import transformers

    folder = tmp_path / "bert"
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "run", "the", "jobs", "of", "a", "queue", "waits", "nothing", "."]
    tokenizer = tokenizers.Tokenizer(
        tokenizers.models.WordPiece({word: at for at, word in enumerate(words)}, unk_token="[UNK]")
    )
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    ends = {"special_tokens": [("[CLS]", 2), ("[SEP]", 3)]}
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(single="[CLS] $A [SEP]", **ends)
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=64, **special)
    fast.save_pretrained(folder)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    transformers.BertModel(transformers.BertConfig(vocab_size=len(words), **sizes)).save_pretrained(folder)
    return folder


def test_bert_score_of_known_texts(bert):
    pytest.importorskip("bert_score")
    folder = bert_scores.checked(str(bert), 2)
    texts = ("run the jobs of a queue", "nothing waits.", " ")
    items = [Prediction("1", "", text, "run the jobs of a queue") for text in texts]
    (same, one), (other, _), empty = bert_scores.scores(items, folder, 2).tolist()
    assert (same, one) == (pytest.approx(100, abs=1e-3), 1)
    assert other < same
    assert empty == [0, 1]
    assert f"model:bert-{bert_scores.digest_of_folder(folder)[:12]}|layers:2" in bert_scores.signature(3, folder, 2)


def test_what_bert_score_cannot_use_is_one_sentence(bert, tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    with pytest.raises(UserError, match="roberta-large is not on this machine; download a model"):
        bert_scores.checked("roberta-large", 17)
    with pytest.raises(UserError, match=r"bert has 2 layers, fewer than 3; lower --num_layers\."):
        bert_scores.checked(str(bert), 3)
    settings = json.loads((bert / "tokenizer_config.json").read_text())
    del settings["model_max_length"]
    (bert / "tokenizer_config.json").write_text(json.dumps(settings))
    with pytest.raises(UserError, match=r'does not say how many tokens .* add "model_max_length" to a copy'):
        bert_scores.checked(str(bert), 2)
    (bert / "model.safetensors").rename(bert / "model.bin")
    with pytest.raises(UserError, match=r"has no \*\.safetensors, the only weights that are read"):
        bert_scores.checked(str(bert), 2)


# ---------------------------------------------------------------------------------------------- the program


def run(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["extra_scores.py", *map(str, words)])
    extra_scores.main()


def test_a_finished_benchmark_gets_more_scores(finished, monkeypatch, capsys, tmp_path):
    pytest.importorskip("nltk")
    run(monkeypatch, finished)
    said = capsys.readouterr().out
    assert "heldout: METEOR, %" in said
    assert said.count("[") >= 4
    write_jsonl(tmp_path / "raw.jsonl", DOCUMENTS)
    with pytest.raises(UserError, match="no Python completion was found in these documents"):
        run(monkeypatch, finished, "--metric", "linter", "--documents", tmp_path / "raw.jsonl")
    with pytest.raises(SystemExit):
        run(monkeypatch, finished, "--metric", "linter")
    with pytest.raises(SystemExit):
        run(monkeypatch, finished, "--metric", "bert_score", "--bert_model", tmp_path)
    assert "--metric bert_score needs --bert_model and --num_layers" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["codebleu"], r"CodeBLEU needs codebleu, .* run `pip install --no-deps codebleu==0\.7\.0`\."),
        (["bert_score", "--bert_model", "x", "--num_layers", "2"], r"run `pip install bert-score==0\.3\.13`\."),
    ],
)
def test_a_missing_package_is_one_sentence(words, error, finished, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=error):
        run(monkeypatch, finished, "--metric", *words)


def test_a_finished_benchmark_gets_the_scores_of_packages(finished, bert, monkeypatch, capsys):
    pytest.importorskip("bert_score")
    pytest.importorskip("codebleu")
    monkeypatch.setitem(codebleu_score.LANGUAGES, "", "python")  # the items name no language
    run(monkeypatch, finished, "--metric", "codebleu", "bert_score", "--bert_model", bert, "--num_layers", 1)
    said = capsys.readouterr().out
    assert "heldout: CodeBLEU, %, cut as an editor cuts" in said
    assert "heldout: BERTScore, F1, %" in said
    assert said.count("[") >= 8
