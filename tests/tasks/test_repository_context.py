"""Other files of the repository before a prompt: which, in what order, of which split, and what --verify finds."""

import dataclasses
import json
import re

import pytest

import preprocess_data
from codefit.curation.corpus import Corpus
from codefit.curation.neighbours import Neighbours
from codefit.errors import UserError
from codefit.records import Document, Pair, write_jsonl
from codefit.tasks import repository_context
from codefit.tasks.token_offsets import load_tokenizer, token_starts
from tests.support.corpus import documents, kotlin_file, pairs_of

LIMIT = 120


@pytest.fixture(scope="module")
def tokenizer(vocabulary):
    return load_tokenizer(str(vocabulary))


# ------------------------------------------------------------------------------------------- which files


FILES = {
    "a/b/asked.py": "from .named import x\nimport lib.other\nasked = 1\n",
    "a/b/beside.py": "beside = 1\n",
    "a/b/c/below.py": "below = 1\n",
    "a/above.py": "above = 1\n",
    "d/named.py": "named = 1\n",
    "a/b/c/named.py": "named = 2\n",
    "top.py": "top = 1\n",
    "a/b/other.kt": "val other = 1\n",
}


def corpus_of(files, tmp_path, repository="me/one"):
    corpus = Corpus(tmp_path)
    for path, text in files.items():
        corpus.add(Document(text, path, repository, language="kotlin" if path.endswith("kt") else "python"), b"")
        corpus.entries[-1].split = "train"
    return corpus


def test_imported_files_are_nearest_and_then_the_folders_around(tmp_path):
    near = Neighbours(corpus_of(FILES, tmp_path), "train", 1000)
    asked = Document(FILES["a/b/asked.py"], "a/b/asked.py", "me/one", language="python")
    assert [path for path, *_ in near.of(asked)] == [
        "a/b/c/named.py",
        "d/named.py",
        "a/b/beside.py",
        "a/b/c/below.py",
        "a/above.py",
        "top.py",
    ]
    assert near.of(asked)[2][2] == FILES["a/b/beside.py"]
    assert near.of(Document("", "a/b/asked.py", "me/other", language="python")) == []


def test_files_of_other_splits_are_not_neighbours(tmp_path):
    corpus = corpus_of(FILES, tmp_path)
    for entry in corpus.entries:
        entry.split = "test" if entry.path in {"a/b/beside.py", "d/named.py"} else "train"
    asked = Document(FILES["a/b/asked.py"], "a/b/asked.py", "me/one", language="python")
    assert [path for path, *_ in Neighbours(corpus, "test", 1000).of(asked)] == ["d/named.py", "a/b/beside.py"]
    assert [path for path, *_ in Neighbours(corpus, "validation", 1000).of(asked)] == []


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("package a\n\nimport b.C\nimport d\n\n\nfun e() {}\n", "fun e() {}\n"),
        ('"""Doc."""\nfrom a import (\n    b,\n)\nimport c\n\ndef d():\n    import e\n', "def d():\n    import e\n"),
        ("from a import b\nfrom c import d", ""),
        ("important = 1\n", "important = 1\n"),
    ],
)
def test_a_context_file_starts_after_its_imports(tmp_path, text, kept):
    asked = Document("", "a.py", "me/one", language="python")
    ((path, start, found),) = Neighbours(corpus_of({"b.py": text}, tmp_path), "train", 100).of(asked)
    assert (path, found) == ("b.py", kept)
    assert text[start:] == kept


def test_no_more_is_read_than_could_be_of_use(tmp_path):
    files = {f"f{n:03}.py": f"x = {n}\n" * 100 for n in range(100)}
    found = Neighbours(corpus_of(files, tmp_path), "train", 200).of(Document("", "g.py", "me/one", language="python"))
    assert [path for path, *_ in found] == ["f000.py", "f001.py", "f002.py"]
    assert sum(len(text) for *_, text in found) <= 1600
    assert all(text.endswith("\n") for *_, text in found)


# ------------------------------------------------------------------------------------------- how they are laid out


ASKED = Document("asked = 1\n", "a/asked.py", "me/one", language="python")


def test_the_nearest_file_comes_last_and_each_follows_its_path(tokenizer):
    context = repository_context.lay_out(ASKED, [("near.py", 0, "x = 1\n"), ("far.py", 9, "y = 2")], tokenizer, 1000)
    assert context.text == "# far.py\ny = 2\n# near.py\nx = 1\n# a/asked.py\n"
    assert context.files == (
        {"path": "far.py", "start": 9, "characters": 5},
        {"path": "near.py", "start": 0, "characters": 6},
    )
    assert context.tokens == sum(map(len, token_starts(tokenizer, context.text.splitlines(keepends=True))))
    pair = context.before(Pair("i", "completion", "ask", "ed", path="a/asked.py", language="python"))
    assert pair.prompt == context.text + "ask"
    assert list(repository_context.pieces(pair)) == [("far.py", 9, "y = 2"), ("near.py", 0, "x = 1\n")]


@pytest.mark.parametrize("limit", [0, 5, 12, 20, 60, 150, 400])
def test_no_more_tokens_are_taken_than_there_are(tokenizer, limit):
    text = kotlin_file(1)
    context = repository_context.lay_out(ASKED, [("b.py", 0, text), ("c.py", 0, text)], tokenizer, limit)
    assert len(token_starts(tokenizer, [context.text])[0]) <= limit
    assert context.tokens <= limit
    for file in context.files:
        assert text[: file["characters"]].endswith("\n")
    if limit >= 60:
        assert context.tokens > limit / 2
    assert bool(context.files) == bool(context.text)


def test_a_prompt_that_is_not_what_it_says_is_found():
    pair = Pair("i", "completion", "# b.py\nx\n# a.py\ny", "z", path="a.py", language="python")
    for context, words in (("c.py", 2), "i does not begin with c.py"), (("b.py", 1), "begins with more than"):
        wrong = dataclasses.replace(pair, context=[{"path": context[0], "start": 0, "characters": context[1] - 1}])
        with pytest.raises(ValueError, match=words):
            list(repository_context.pieces(wrong))


# ------------------------------------------------------------------------------------------- stage 2


@pytest.fixture(scope="module")
def output(tmp_path_factory, vocabulary):
    folder = tmp_path_factory.mktemp("context")
    files = [*documents(40), *documents(12, "me/two")]
    marked = [
        Document(
            file.content.replace("package demo", f"package demo\n\nval secret{n}x = {n}"), file.path, file.repository
        )
        for n, file in enumerate(files)
    ]
    write_jsonl(folder / "documents.jsonl", marked)
    words = ["--input", folder / "documents.jsonl", "--model_name_or_path", vocabulary, "--max_prompt_tokens", 256]
    words += ["--repository_context", LIMIT, "--test_share", 0.3, "--validation_share", 0.2]
    for name, workers in (("one", 1), ("two", 2)):
        preprocess_data.main([str(w) for w in [*words, "--output", folder / name, "--num_workers", workers]])
    return folder / "one"


def test_nothing_of_another_split_gets_into_a_prompt(output):
    marks = {}
    for number, line in enumerate((output.parent / "documents.jsonl").read_text().splitlines()):
        row = json.loads(line)
        marks[row["repository"], row["path"]] = f"secret{number}x"
    splits = {(pair.repository, pair.path): split for split, pairs in pairs_of(output).items() for pair in pairs}
    of_mark = {mark: splits.get(name) for name, mark in marks.items()}
    seen = {"train": 0, "validation": 0, "test": 0}
    for split, pairs in pairs_of(output).items():
        for pair in pairs:
            own = marks[pair.repository, pair.path]
            found = set(re.findall(r"secret\d+x", pair.prompt)) - {own}
            assert {of_mark[mark] for mark in found} <= {split, None}
            wanted = {marks[pair.repository, file["path"]] for file in pair.context or []}
            assert found <= wanted
            assert own not in wanted
            seen[split] += bool(found)
    assert min(seen.values()) > 10, seen


def test_every_engine_process_gives_the_same_bytes(output):
    for split in ("train", "validation", "test"):
        assert (output / f"{split}.jsonl").read_bytes() == (output.parent / "two" / f"{split}.jsonl").read_bytes()


def test_the_context_is_a_part_of_the_longest_prompt(output, tokenizer):
    lengths = [len(token_starts(tokenizer, [pair.prompt])[0]) for pair in pairs_of(output)["train"]]
    assert max(lengths) <= 256 + 4  # a cut can part a token
    manifest = json.loads((output / "manifest.json").read_text())
    with_context = sum(pair.context is not None for pair in pairs_of(output)["train"])
    assert manifest["splits"]["train"]["pairs_with_context"] == with_context > 20


def test_verify_reads_the_context(output, capsys):
    preprocess_data.main(["--output", str(output), "--verify"])
    assert capsys.readouterr().out.startswith("no leak: ")


PLANTED = [
    ("other split", r"is in \w+ and in \w+"),
    ("other text", r"a prompt contains text that is not in me/"),
    ("other length", "begins with more than its context"),
    ("itself", "has its own file as context"),
]


@pytest.mark.parametrize(("kind", "words"), PLANTED)
def test_verify_finds_a_context_that_is_not_as_it_says(output, kind, words):
    pairs = pairs_of(output)
    path = output / "test.jsonl"
    before = path.read_bytes()
    pair = next(pair for pair in pairs["test"] if pair.repository == "me/one" and pair.context)
    row = {name: getattr(pair, name) for name in pair.__slots__}
    file = pair.context[0]
    if kind == "other split":
        other = next(p.path for p in pairs["train"] if p.repository == "me/one")
        row |= {
            "prompt": f"// {other}\n\n" + pair.prompt,
            "context": [{"path": other, "start": 0, "characters": 1}, *pair.context],
        }
    elif kind == "other text":
        row["prompt"] = pair.prompt.replace("fun", "val", 1)
    elif kind == "other length":
        row["context"] = [*pair.context[:-1], {**pair.context[-1], "characters": file["characters"] + 1}]
    else:
        row |= {
            "prompt": f"// {pair.path}\n\n" + pair.prompt,
            "context": [{"path": pair.path, "start": 0, "characters": 1}, *pair.context],
        }
    write_jsonl(path, [row])
    try:
        with pytest.raises(UserError, match=words):
            preprocess_data.main(["--output", str(output), "--verify"])
    finally:
        path.write_bytes(before)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--task", "infill", "--repository_context", "10"], "--repository_context needs --task completion"),
        (["--repository_context", "500"], "counts towards --max_prompt_tokens; leave 16 for the prompt"),
    ],
)
def test_wrong_arguments_exit_with_2(words, message, capsys):
    with pytest.raises(SystemExit, match="2"):
        preprocess_data.main(words)
    assert message in capsys.readouterr().err
