"""The pairs of the tasks completion and document."""

import dataclasses
from collections import Counter

import pytest
import tokenizers

from codefit.code.languages import LANGUAGES
from codefit.code.structure import Structure
from codefit.records import Document, Pair
from codefit.tasks.task import TASKS, TaskOptions, load_task
from codefit.tasks.token_offsets import load_tokenizer, token_starts
from tests.support.texts import SOURCES

OPTIONS = TaskOptions(
    max_prompt_tokens=64, max_completion_tokens=24, window_step=16, max_pairs_per_file=100_000, seed=0
)
PYTHON_TEXT = "\n".join(path.read_text() for path in SOURCES if path.stem.startswith("c"))


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory):
    """A folder with a byte-level tokenizer of 700 tokens."""
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=700, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator([PYTHON_TEXT], trainer)
    tokenizer.enable_truncation(10)  # which must be off when files are counted
    folder = tmp_path_factory.mktemp("vocabulary")
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def build(task, document, vocabulary, options=OPTIONS):
    module, skipped = load_task(task), Counter()
    starts = token_starts(load_tokenizer(str(vocabulary)), [document.content])[0] if module.NEEDS_TOKENS else []
    return list(module.build_pairs(document, starts, options, skipped)), skipped


@pytest.fixture(scope="module")
def document():
    return Document(PYTHON_TEXT, "codefit/all.py", "me/codefit", language="python")


@pytest.mark.parametrize("task", TASKS)
def test_every_task_keeps_the_contract(task, document, vocabulary):
    options = dataclasses.replace(OPTIONS, max_completion_tokens=400)
    pairs, skipped = build(task, document, vocabulary, options)
    assert load_task(task).__doc__
    assert pairs
    assert all(isinstance(pair, Pair) for pair in pairs)
    assert len({pair.id for pair in pairs}) == len(pairs)
    assert all(count > 0 and reason for reason, count in skipped.items())
    for pair in pairs:
        assert (pair.task, pair.language) == (task, "python")
        assert (pair.repository, pair.path) == ("me/codefit", "codefit/all.py")
        assert pair.id.startswith("me/codefit/codefit/all.py")
        assert pair.completion.strip()
        assert pair.finish_reason in {"stop", "length"}
    assert build(task, document, vocabulary, options)[0] == pairs


def test_document_is_the_whole_text(document, vocabulary):
    (pair,), _ = build("document", document, vocabulary)
    assert (pair.prompt, pair.completion, pair.finish_reason) == ("", PYTHON_TEXT, "stop")


def test_completion_pairs_are_pieces_of_the_file_within_the_limits(document, vocabulary):
    pairs, _ = build("completion", document, vocabulary)
    tokenizer = load_tokenizer(str(vocabulary))
    structure = Structure(PYTHON_TEXT, LANGUAGES["python"])
    for pair in pairs:
        line, column = map(int, pair.id.rsplit(":", 2)[1:])
        cut = structure.starts[line - 1] + column - 1
        assert PYTHON_TEXT[:cut].endswith(pair.prompt)
        assert PYTHON_TEXT.startswith(pair.completion, cut)
        sizes = [len(tokenizer.encode(text).ids) for text in (pair.prompt, pair.completion)]
        assert 16 <= sizes[0] <= OPTIONS.max_prompt_tokens + 6  # at the cut of a word or a rule some tokens break up
        assert 1 <= sizes[1] <= OPTIONS.max_completion_tokens + 6
        end = cut + len(pair.completion)
        assert structure.natural_end(cut, end) == (end if pair.finish_reason == "stop" else None)
    long = [pair for pair in pairs if len(tokenizer.encode(pair.prompt).ids) >= OPTIONS.max_prompt_tokens - 2]
    assert len(long) > 0.9 * len(pairs)


def test_half_of_the_cut_points_are_at_line_starts_and_some_inside_words(document, vocabulary):
    pairs, skipped = build("completion", document, vocabulary)
    assert len(pairs) > 500
    at_start = [pair for pair in pairs if pair.prompt.endswith("\n")]
    within = [pair for pair in pairs if not pair.prompt.endswith("\n")]
    assert len(at_start) / len(pairs) == pytest.approx(0.5, abs=0.1)
    assert all(pair.prompt.rpartition("\n")[2].strip() for pair in within)
    in_word = [p for p in within if (p.prompt[-1] + "x").isidentifier() and ("x" + p.completion[0]).isidentifier()]
    assert 0.15 < len(in_word) / len(within) < 0.45
    assert sum(pair.finish_reason == "stop" for pair in pairs) > 0.4 * len(pairs)  # 24 small tokens are not much
    assert set(skipped) <= {"only closing brackets", "cut used before", "short prompt", "blank completion"}


def test_the_seed_and_the_path_move_the_cuts(document, vocabulary):
    ids = {pair.id for pair in build("completion", document, vocabulary)[0]}
    other = {pair.id for pair in build("completion", document, vocabulary, dataclasses.replace(OPTIONS, seed=1))[0]}
    moved = dataclasses.replace(document, path="codefit/new.py")
    renamed = {pair.id.replace("new.py", "all.py") for pair in build("completion", moved, vocabulary)[0]}
    assert len(ids & other) < 0.5 * len(ids)
    assert len(ids & renamed) < 0.5 * len(ids)


def test_the_limit_per_file_thins_evenly_and_is_counted(document, vocabulary):
    everything, skipped = build("completion", document, vocabulary)
    some, counted = build("completion", document, vocabulary, dataclasses.replace(OPTIONS, max_pairs_per_file=10))
    places = len(everything) + skipped.total()
    assert len(some) <= 10
    assert counted["over the per-file limit"] == places - 10
    lines = [int(pair.id.split(":")[1]) for pair in some]
    assert lines == sorted(lines)
    assert lines[-1] - lines[0] > 0.6 * PYTHON_TEXT.count("\n")


def test_a_file_without_enough_tokens_gives_nothing(vocabulary):
    assert build("completion", Document("x = 1\n", "a.py", language="python"), vocabulary) == ([], Counter())


def test_closing_brackets_are_not_a_completion(vocabulary):
    text = "x = [" * 12 + "\n" + "]\n" * 200
    pairs, skipped = build("completion", Document(text, "a.py", language="python"), vocabulary)
    assert not [pair for pair in pairs if not pair.completion.strip("]\n")]
    assert skipped["only closing brackets"] > 3


def test_text_beyond_ascii_is_cut_at_characters(vocabulary):
    text = "".join(f'größe_{n} = "äöü 🎉 名前 {n}" + übung(🎉)\n' for n in range(300))
    pairs, _ = build("completion", Document(text, "a.py", language="python"), vocabulary)
    assert len(pairs) > 100
    assert all(pair.prompt + pair.completion in text for pair in pairs)
