"""Retrieved files: which chunks are found, what a prompt may never see, and what a benchmark is told."""

import dataclasses

import pytest

from codefit.errors import UserError
from codefit.evaluation import repository_files, retrieval
from codefit.evaluation.chunk_index import LINES, chunks, words
from codefit.evaluation.questions import Questions
from codefit.evaluation.retrieval import Retriever
from codefit.records import Change, Pair, write_jsonl
from codefit.tasks import repository_context
from codefit.tasks.token_offsets import load_tokenizer

OWN = "from lib.shelf import Shelf\n\n\ndef pack(box):\n    shelf = Shelf(box)\n    shelf.put_away_safely(box)\n"
FILES = {
    "app/own.py": OWN,
    "lib/shelf.py": "class Shelf:\n    def put_away_safely(self, box): ...\n" + "    # more\n" * 20,
    "far/other.py": "class Shelf:\n    def lose(self, box): ...\n" + "    # less\n" * 20,
    "far/unrelated.py": "value = 1\n",
    "copies/own.py": OWN + "\n# the same\n",
}
PROMPT, REFERENCE = OWN[: OWN.index("put_away")], "put_away_safely(box)\n"
PAIR = Pair("p", "completion", PROMPT, REFERENCE, repository="me/one", path="app/own.py", language="python")


@pytest.fixture(scope="module")
def tokenizer(vocabulary):
    return load_tokenizer(str(vocabulary))


def documents(folder, files=FILES, **fields):
    rows = [
        {"repository": "me/one", "path": path, "content": text, "language": "python", **fields}
        for path, text in files.items()
    ]
    write_jsonl(folder / "documents.jsonl", rows)
    return folder / "documents.jsonl"


def retrieved(path, tokenizer, pair=PAIR, limit=400):
    files = repository_files.opened(path, {"me/one"})
    return Retriever(files, [pair]).context(pair, tokenizer, limit)


def test_the_best_chunk_is_last_and_the_imported_file_is_preferred(tmp_path, tokenizer):
    context = retrieved(documents(tmp_path), tokenizer)
    assert [file["path"] for file in context.files] == ["far/other.py", "lib/shelf.py"]
    assert context.text.startswith("# far/other.py\nclass Shelf:\n    def lose")
    assert context.text.endswith("# more\n# app/own.py\n")
    assert "# lib/shelf.py\nclass Shelf:\n    def put_away_safely" in context.text


def test_the_prompts_own_file_and_its_copies_are_never_shown(tmp_path, tokenizer):
    context = retrieved(documents(tmp_path, {path: FILES[path] for path in ("app/own.py", "copies/own.py")}), tokenizer)
    assert (context.text, context.files) == ("", ())


def test_an_import_below_the_cursor_is_not_known(tmp_path, tokenizer):
    prompt = PROMPT.replace("from lib.shelf import Shelf\n", "")
    others = {path: FILES[path] for path in ("lib/shelf.py", "far/other.py")}
    found = []
    for end in ("", "from lib.shelf import Shelf\n", "from far.other import Shelf\n"):
        path = documents(tmp_path, {**others, "app/own.py": prompt + REFERENCE + end})
        found.append(retrieved(path, tokenizer, dataclasses.replace(PAIR, prompt=prompt)))
    assert found[0].files
    assert found[1:] == found[:1] * 2


def test_the_text_after_the_cursor_is_searched_for_too(tmp_path, tokenizer):
    path = documents(tmp_path, {"app/own.py": OWN, "far/unrelated.py": "value = other\n"})
    assert retrieved(path, tokenizer).files == ()
    assert retrieved(path, tokenizer, dataclasses.replace(PAIR, suffix="\nvalue")).files


def test_the_limit_holds(tmp_path, tokenizer):
    context = retrieved(documents(tmp_path), tokenizer, limit=60)
    assert 0 < context.tokens <= 60
    assert len(context.files) == 1


def test_without_a_known_repository_or_words_nothing_is_retrieved(tmp_path, tokenizer):
    path = documents(tmp_path)
    for pair in (dataclasses.replace(PAIR, repository="me/two"), dataclasses.replace(PAIR, prompt="  (\n")):
        assert retrieved(path, tokenizer, pair).files == ()


def test_in_a_split_by_time_newer_files_are_not_seen(tmp_path, tokenizer):
    rows = [
        {"repository": "me/one", "path": path, "content": text, "language": "python", "committed_at": date}
        for (path, text), date in zip(
            FILES.items(), ("2024-02-01", "2024-02-01", "2024-01-01", "2024-01-01", "2024-03-01"), strict=True
        )
    ]
    write_jsonl(tmp_path / "documents.jsonl", rows)
    assert [file["path"] for file in retrieved(tmp_path / "documents.jsonl", tokenizer).files] == ["far/other.py"]


def test_of_a_later_commit_only_the_files_before_it_are_seen(tmp_path, tokenizer):
    names = {"repository": "me/one", "language": "python"}
    rows = [
        Change("app/own.py", "one", blob="1", content=OWN.replace("    shelf.put_away_safely(box)\n", ""), **names),
        Change("far/other.py", "one", blob="2", content=FILES["far/other.py"], **names),
        Change("lib/shelf.py", "two", "one", blob="3", content=FILES["lib/shelf.py"], **names),
        Change("app/own.py", "two", "one", blob="4", content=OWN, **names),
    ]
    write_jsonl(tmp_path / "history.jsonl", rows)
    pair = dataclasses.replace(PAIR, commit="two")
    assert [file["path"] for file in retrieved(tmp_path / "history.jsonl", tokenizer, pair).files] == ["far/other.py"]


def test_chunks_that_bring_in_names_come_before_repetitions(tmp_path, tokenizer):
    files = {
        "app/own.py": OWN,
        "far/again.py": "def pack(box):\n    shelf = Shelf(box)\n    shelf.put()\n",
        "far/more.py": "def pack(box):\n    shelf = Shelf(box)\n    shelf.close(lock, key)\n",
        "far/same.py": "def pack(box):\n    shelf = Shelf(box)\n    shelf\n",
    }
    context = retrieved(documents(tmp_path, files), tokenizer)
    assert [file["path"] for file in context.files] == ["far/again.py", "far/more.py"]


def test_parts_of_a_file_share_one_line_with_its_path(tmp_path, tokenizer):
    text = "".join(f"def put_away{n}(shelf):\n    return Shelf(shelf).width{n}\n\n\n" for n in range(9))
    pair = dataclasses.replace(PAIR, suffix="")
    path = documents(tmp_path, {"app/own.py": OWN, "far/uses.py": text})
    context = retrieved(path, tokenizer, pair)
    asked = context.before(pair)
    assert len(context.files) > 1
    assert context.text.count("# far/uses.py\n") == 1
    assert [part for _, _, part in repository_context.pieces(asked)] == [
        text[file["start"] : file["start"] + file["characters"]] for file in context.files
    ]
    assert repository_context.own_prompt(asked) == PROMPT


def test_each_commit_sees_the_state_before_it(tmp_path, tokenizer):
    names = {"repository": "me/one", "language": "python"}
    rows = [
        Change("app/own.py", "one", blob="1", content="from lib.shelf import Shelf\n", **names),
        Change("lib/shelf.py", "one", blob="2", content="class Shelf:\n    def lift(self): ...\n", **names),
        Change("lib/shelf.py", "two", "one", blob="3", content=FILES["lib/shelf.py"], **names),
        Change("app/own.py", "two", "one", blob="4", content=OWN, **names),
        Change("lib/shelf.py", "three", "two", blob="5", content="class Shelf:\n    def drop(self): ...\n", **names),
    ]
    write_jsonl(tmp_path / "history.jsonl", rows)
    pairs = [dataclasses.replace(PAIR, commit=commit) for commit in ("two", "three")]
    files = repository_files.opened(tmp_path / "history.jsonl", {"me/one"})
    found = [Retriever(files, pairs).context(pair, tokenizer, 400).text for pair in pairs]
    assert "lift" in found[0]
    assert "put_away_safely" not in found[0]
    assert "put_away_safely" in found[1]
    assert not any("drop" in text for text in found)


def test_a_file_is_cut_at_blank_lines_and_before_definitions():
    text = "a = 1\n" * LINES + "\n" * 9 + "b = 2\nb = 3\nb = 4\n\nc = 5\nd = 6\ne = 7\n    def f(): ...\n\n\n# ---\ng"
    assert [text[start:end] for start, end in chunks(text)] == [
        "a = 1\n" * LINES,
        "b = 2\nb = 3\nb = 4\n",
        "c = 5\nd = 6\ne = 7\n",
        "    def f(): ...\n",
        "# ---\ng",
    ]


def test_names_are_searched_whole_and_in_parts():
    assert words("put_away(HTTPServer) + x") == ["put_away", "put", "away", "HTTPServer", "http", "server", "x"]


# ------------------------------------------------------------------------------------------- a benchmark


class Encoder:
    """As much of an encoder as retrieval needs."""

    def __init__(self, tokenizer):
        self.codec = self
        self.tokenizer = tokenizer

    def first_ids(self, texts):
        return [self.tokenizer.encode(text, add_special_tokens=False).ids for text in texts]

    def decode(self, ids):
        return self.tokenizer.decode(ids)


@dataclasses.dataclass
class How:
    max_prompt_tokens: int = 100
    repository_context: int = 300


def asked(path, pairs=(PAIR,)):
    return Questions("heldout", "held-out code", list(pairs), 8, documents=path)


def test_a_benchmark_gets_files_and_the_names_that_they_hold_are_counted(tmp_path, tokenizer, capsys):
    [found] = retrieval.for_benchmarks([asked(documents(tmp_path))], Encoder(tokenizer), How()).values()
    assert found.pairs[0].prompt.endswith(f"# app/own.py\n{PROMPT}")
    assert (found.found.count, found.found.of) == (1, 1)
    assert "heldout: files for 1 of 1 prompts; they hold 1 of 1 names of references" in capsys.readouterr().out


def test_the_forgetting_check_is_asked_without_files(tmp_path, tokenizer):
    both = [asked(documents(tmp_path)), dataclasses.replace(asked(documents(tmp_path)), name="forgetting")]
    assert list(retrieval.for_benchmarks(both, Encoder(tokenizer), How())) == ["heldout"]


def test_a_prompt_is_cut_as_without_files(tmp_path, tokenizer):
    [found] = retrieval.for_benchmarks([asked(documents(tmp_path))], Encoder(tokenizer), How(8)).values()
    own = found.pairs[0].prompt.partition("# app/own.py\n")[2]
    assert own
    assert PROMPT.endswith(own)
    assert len(Encoder(tokenizer).first_ids([own])[0]) <= 8


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"repository": "me/two"}, "nothing can be retrieved"),
        ({"task": "naming"}, "nothing can be retrieved"),
        ({"context": [{"path": "a.py", "start": 0, "characters": 1}]}, "begin with files of the repository already"),
    ],
)
def test_benchmarks_for_which_nothing_can_be_retrieved_are_refused(changes, message, tmp_path, tokenizer):
    pair = dataclasses.replace(PAIR, **changes)
    with pytest.raises(UserError, match=message):
        retrieval.for_benchmarks([asked(documents(tmp_path), [pair])], Encoder(tokenizer), How())
