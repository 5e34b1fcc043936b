"""Documents are cleaned as stated; duplicates are what their definition says."""

import dataclasses
import itertools
import random
import re
import time

import numpy as np
import pytest

from codefit.code.languages import LANGUAGES
from codefit.curation.curate import CurationOptions, curate
from codefit.curation.dedup import (
    THRESHOLD,
    Evaluation,
    content_id,
    jaccard,
    near_duplicates,
    shingles,
    sketch,
    word_hashes,
)
from codefit.curation.leaks import find_leaks
from codefit.curation.licence_headers import remove_licence_headers
from codefit.curation.path_globs import matches
from codefit.records import Document, Rejection

KOTLIN, PYTHON = LANGUAGES["kotlin"], LANGUAGES["python"]
GOOD = "".join(f"fun compute{name}(value: Int): Int {{\n    return value + other.{name}\n}}\n" for name in "abcdefgh")


# --------------------------------------------------------------------------------------------- licence headers


@pytest.mark.parametrize(
    ("text", "expected", "removed"),
    [
        ("/*\n * Copyright 2010\n */\n\npackage a\n", "package a\n", 1),
        ("// Copyright\n// SPDX-License-Identifier: MIT\npackage a\n", "package a\n", 1),
        ("/* Copyright */\n// Licensed under X\n\n// a remark\npackage a\n", "// a remark\npackage a\n", 2),
        ("/** Reads a file. */\nclass A\n", "/** Reads a file. */\nclass A\n", 0),
        ("// a remark\n\n// Copyright\nclass A\n", "// a remark\n\n// Copyright\nclass A\n", 0),
        ("class A // Copyright\n", "class A // Copyright\n", 0),
        ('val a = "Copyright"\n', 'val a = "Copyright"\n', 0),
        ("/* Copyright, not closed\nclass A\n", "", 1),
        ("", "", 0),
    ],
)
def test_licence_headers_of_kotlin(text, expected, removed):
    assert remove_licence_headers(text, KOTLIN) == (expected, removed)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "#!/usr/bin/env python\n# -*- coding: utf-8 -*-\n# Copyright\nimport a\n",
            "#!/usr/bin/env python\n# -*- coding: utf-8 -*-\nimport a\n",
        ),
        ("# Copyright\n#\n# All rights reserved\n\nimport a\n", "import a\n"),
        ('"""Copyright."""\nimport a\n', '"""Copyright."""\nimport a\n'),
    ],
)
def test_licence_headers_of_python(text, expected):
    assert remove_licence_headers(text, PYTHON)[0] == expected


# --------------------------------------------------------------------------------------------- one document


@pytest.mark.parametrize(
    ("document", "languages", "expected"),
    [
        (Document(GOOD, "a.kt"), None, "kotlin"),
        (Document(GOOD, "a", language="Kotlin"), None, "kotlin"),
        (Document(GOOD, "a.kt"), ["python"], Rejection("other language", "kotlin")),
        (Document(GOOD, "a.txt"), None, Rejection("unknown language", ".txt")),
        (Document(GOOD, "a.x", language="COBOL"), None, Rejection("unknown language", "COBOL")),
        (Document("\ud800" + GOOD, "a.kt"), None, Rejection("not UTF-8", "character 0")),
        (Document("val a = 1", "a.kt"), None, Rejection("too few characters", 9)),
    ],
)
def test_curation_of_a_document(document, languages, expected):
    outcome = curate(document, CurationOptions(language=languages)).outcome
    assert (outcome.language if isinstance(outcome, Document) else outcome) == expected


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"drop_path": ["tests/**", "*.kts"]}, None),
        ({"drop_path": ["tests/**", "a.*"]}, Rejection("dropped path", "a.*")),
        ({"keep_matching": r"^package \w+$"}, None),
        ({"keep_matching": "import kotlinx"}, Rejection("no match", "import kotlinx")),
        ({"keep_matching": "Copyright"}, None),
    ],
)
def test_files_are_kept_by_content_and_dropped_by_path(options, expected):
    text = "// Copyright 2020 A\n\npackage demo\n\n" + GOOD
    outcome = curate(Document(text.replace("\n", "\r\n"), "src/a.kt"), CurationOptions(**options)).outcome
    assert (None if isinstance(outcome, Document) else outcome) == expected


@pytest.mark.parametrize(
    ("glob", "matched", "others"),
    [
        ("setup.py", ["setup.py", "a/b/setup.py"], ["setup.pyi", "a/my_setup.py", "setup.py/a.py"]),
        ("*_test.go", ["a_test.go", "b/a_test.go"], ["a_test.go/b.go", "a_test_go"]),
        ("tests/**", ["tests/a.py", "tests/b/a.py"], ["src/tests/a.py", "tests.py"]),
        ("tests/", ["tests/a.py", "src/tests/b/a.py"], ["mytests/a.py", "tests"]),
        ("**/tests/*.py", ["tests/a.py", "a/b/tests/a.py"], ["tests/b/a.py", "mytests/a.py"]),
        ("docs/*/conf.py", ["docs/a/conf.py"], ["docs/conf.py", "docs/a/b/conf.py"]),
        ("a?[b].ts", ["ax[b].ts"], ["a/[b].ts", "axb.ts"]),
        ("/a.py", ["a.py"], ["b/a.py"]),
    ],
)
def test_globs(glob, matched, others):
    assert [path for path in [*matched, *others] if matches(glob, path)] == matched


def test_line_ends_become_plain_and_headers_are_counted():
    text = "// Copyright\n" + GOOD
    curated = curate(Document(text.replace("\n", "\r\n"), "a.kt"), CurationOptions())
    assert isinstance(curated.outcome, Document)
    assert (curated.outcome.content, curated.counts["licence_headers_removed"]) == (GOOD, 1)


# --------------------------------------------------------------------------------------------- duplicates


def reference_shingles(text):
    words = re.findall(r"[A-Za-z0-9_]+", text)
    return {tuple(words[n : n + 5]) for n in range(len(words) - 4)} if len(words) >= 10 else set()


def reference_jaccard(one, other):
    one, other = reference_shingles(one), reference_shingles(other)
    return len(one & other) / len(one | other) if one and other else 0.0


def invented(count, seed=0):
    """Texts in families whose members differ in a growing share of their words."""
    chance = random.Random(seed)
    words = [f"word{n}" for n in range(3000)]
    texts = []
    while len(texts) < count:
        family = [chance.choice(words) for _ in range(chance.choice([15, 40, 150, 600]))]
        for changes in (0.0, 0.01, 0.02, 0.04, 0.06, 0.1):
            texts.append(" ".join(chance.choice(words) if chance.random() < changes else word for word in family))
    return texts[:count]


def test_word_hashes_depend_only_on_words():
    one = word_hashes("a_1 Bc\n\tde+fg(é)h")
    assert len(one) == 6
    assert np.array_equal(one, word_hashes("a_1.Bc de/fg,é,h"))
    assert len(set(word_hashes("ab ba Ab aB a b aa aab abb").tolist())) == 9
    assert len(word_hashes("")) == len(word_hashes("+-*")) == 0
    long = "x" * 200_000
    assert word_hashes(f"a {long} b").tolist()[1] == word_hashes(long).tolist()[0]


def test_shingles_are_the_set_of_five_grams():
    for text in [*invented(30), "a b c d e f g h i", "a b c d e f g h i j", "a " * 50, ""]:
        assert len(shingles(text)) == len(reference_shingles(text))
        assert np.all(np.diff(shingles(text).astype(object)) > 0)


def test_jaccard_is_exact():
    texts = invented(40)
    for one, other in itertools.combinations(texts, 2):
        assert jaccard(shingles(one), shingles(other)) == pytest.approx(reference_jaccard(one, other))
    assert jaccard(shingles("too short"), shingles("too short")) == 0


def test_near_duplicates_have_no_false_deletion_and_few_misses():
    texts = invented(720)
    sets = [shingles(text) for text in texts]
    keys, sizes = sketch(sets)
    removed = {
        file: (survivor, similarity) for file, survivor, similarity in near_duplicates(keys, sizes, sets.__getitem__)
    }
    for file, (survivor, similarity) in removed.items():
        assert survivor not in removed
        assert survivor < file
        assert similarity == pytest.approx(jaccard(sets[file], sets[survivor]))
        assert similarity >= THRESHOLD
    similar = [(a, b) for a, b in itertools.combinations(range(720), 2) if jaccard(sets[a], sets[b]) >= THRESHOLD]
    missed = [pair for pair in similar if pair[0] not in removed and pair[1] not in removed]
    assert len(similar) > 500
    assert len(missed) <= 0.03 * len(similar)


def test_the_sketch_of_a_file_does_not_depend_on_other_files():
    sets = [shingles(text) for text in invented(30)]
    keys, sizes = sketch(sets)
    alone, _ = sketch(sets[7:8])
    assert np.array_equal(keys[7], alone[0])
    assert sizes.tolist() == [len(shingle_set) for shingle_set in sets]
    assert sketch([])[0].shape == (0, 32)


def test_files_of_few_words_are_not_near_duplicates():
    sets = [shingles("val a = 1"), shingles("val a = 1"), shingles("")]
    assert list(near_duplicates(*sketch(sets), sets.__getitem__)) == []


def test_evaluation_finds_every_similar_file():
    texts = invented(240, seed=1)
    sets = [shingles(text) for text in texts]
    evaluation, train = sets[::4], [shingle_set for n, shingle_set in enumerate(sets) if n % 4]
    index = Evaluation(len(evaluation), evaluation.__getitem__)
    found = 0
    for shingle_set in train:
        similarities = [jaccard(shingle_set, other) for other in evaluation]
        best = max(similarities)
        expected = (similarities.index(best), best) if best >= THRESHOLD else None
        assert index.most_similar(shingle_set) == expected
        found += expected is not None
    assert found > 50
    assert Evaluation(0, sets.__getitem__).most_similar(sets[0]) is None
    assert index.most_similar(shingles("")) is None


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("a\nb\n", "a  \r\nb\t\n", True),
        ("a\nb", "a\nb\n", True),
        ("a\n b", "a\nb", False),
        ("", "\n", True),
        ("a", "b", False),
    ],
)
def test_exact_duplicates(one, other, same):
    assert (content_id(one) == content_id(other)) is same


def test_leaks_are_copies_and_near_duplicates():
    texts = invented(6)
    files = [
        ("test", "t", texts[0]),
        ("validation", "v", "val a = 1\n"),
        ("train", "copy", "val a = 1 \n"),
        ("train", "near", texts[1]),
        ("train", "fine", texts[3] + " more" * 500),
    ]
    leaks = list(find_leaks(lambda: iter(files)))
    assert [(leak.train, leak.evaluation) for leak in leaks] == [("copy", "v"), ("near", "t")]
    assert leaks[1].similarity == pytest.approx(reference_jaccard(texts[0], texts[1]))


@pytest.mark.parametrize("end", ["\r\n", "\r", "\r\r\n", "\n"])
def test_every_line_end_becomes_a_line_feed(end):
    for document in (GOOD.replace("\n", end), "\ufeff" + GOOD.replace("\n", end)):
        assert curate(Document(document, "a.kt"), CurationOptions()).outcome.content == GOOD


def test_near_duplicates_in_any_script():
    one = "Эта функция читает строки файла и возвращает их по одной без имени файла вовсе " * 2
    assert jaccard(shingles(one), shingles(one)) == 1
    assert jaccard(shingles(one), shingles(one.replace("строки", "байты").replace("файла", "диска"))) < 0.7
    chinese = "这个函数读取文件的每一行并把它们逐个返回给调用者使用"
    assert jaccard(shingles(chinese), shingles(chinese + "了")) > 0.7
    assert jaccard(shingles(chinese), shingles(chinese[::-1])) < 0.2
    assert len(shingles("слово — «слово» … " * 9)) == len(shingles("слово слово " * 9))


@pytest.mark.slow
@pytest.mark.parametrize(
    "atom", ["\r", "\t", "/*", "'", '"', "`", "=/", "(", "a@b.", "1.", "<a>'", "copyright ", "#", "{", "if ", "\\u"]
)
@pytest.mark.parametrize("path", ["a.py", "a.kt", "a.tsx", "a.rs", "a.php", "a.rb", "a.cs"])
def test_64_kilobytes_of_anything_take_less_than_two_seconds(atom, path):
    started = time.process_time()
    options = CurationOptions(profile="light", rule=["long_line=off"], strip_comments=True)
    curate(Document((atom * 65_536)[:65_536], path), options)
    assert time.process_time() - started < 2


@pytest.mark.parametrize("field", ["path", "repository", "commit", "license", "blob", "committed_at"])
def test_a_lone_surrogate_in_any_field_is_a_rejection(field: str) -> None:
    document = dataclasses.replace(Document("val a = 1\n", "a.kt", "o/r", language="kotlin"), **{field: "a\ud800.kt"})
    assert curate(document, CurationOptions()).outcome == Rejection("not UTF-8", field)
