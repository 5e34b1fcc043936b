"""The task line: which lines are asked, and what is shown around them."""

from collections import Counter

import pytest

from tests.support.documents import SOURCES, build, document_of

LINES = "".join(f"a{n} = {n}\n" + ("\n" if n % 5 == 0 else "") for n in range(30))


def test_a_pair_has_the_lines_around_its_line():
    pairs, skipped = build("line", document_of("python", LINES), lines_before=3, lines_after=2)
    assert skipped == Counter()
    (pair,) = [pair for pair in pairs if pair.completion == "a12 = 12"]
    assert (pair.prompt, pair.suffix) == ("a10 = 10\n\na11 = 11\n", "\na13 = 13\na14 = 14")
    assert pair.finish_reason == "stop"
    assert len(pairs) == 29


def test_every_line_and_its_surroundings_are_the_file():
    for pair in build("line", document_of("kotlin"))[0]:
        assert pair.prompt.endswith("\n")
        assert "\n" not in pair.completion
        assert pair.suffix == "" or pair.suffix.lstrip(" ").startswith("\n")
        assert pair.prompt + pair.completion + pair.suffix in SOURCES["kotlin"]
        assert pair.prompt.count("\n") <= 15
        assert pair.suffix.count("\n") <= 10


def test_a_model_without_sentinels_gets_the_lines_after_as_a_comment():
    pairs, _ = build("line", document_of("python", LINES), lines_before=2, lines_after=3, prompt_format="verbose")
    (pair,) = [pair for pair in pairs if pair.completion == "a14 = 14"]
    comment = "# Lines after the missing line:\n# a15 = 15\n#\n# a16 = 16\n# Code:\n"
    assert (pair.prompt, pair.suffix) == (comment + "a12 = 12\na13 = 13\n", None)
    for limit in (64, 128):
        pairs, _ = build("line", document_of("java"), prompt_format="verbose", max_prompt_tokens=limit)
        assert max(pair.prompt.count("\n") for pair in pairs) <= 27
        assert all(pair.prompt.partition("// Code:\n")[2] for pair in pairs)


def test_without_lines_after_there_is_no_suffix():
    assert {pair.suffix for pair in build("line", document_of("java"), lines_after=0)[0]} == {None}


def test_lines_over_a_limit_are_counted_and_long_context_is_cut():
    text = "x = 1\n" + "y = '" + "a" * 400 + "'\n" + "z = 2\n)\n"
    pairs, skipped = build("line", document_of("python", text))
    assert [pair.completion for pair in pairs] == ["z = 2"]
    assert skipped == {"line over the limit": 1, "only closing brackets": 1}
    pairs, _ = build("line", document_of("python", LINES), max_prompt_tokens=16)
    assert max(len(pair.prompt) for pair in pairs) <= 16 * 3 + 3
    assert all(pair.prompt for pair in pairs)


@pytest.mark.parametrize("limit", [16, 32, 200])
def test_a_line_with_its_suffix_keeps_to_the_limit(limit):
    for pair in build("line", document_of("java"), max_prompt_tokens=limit)[0]:
        assert len(pair.prompt) + len(pair.suffix) <= 3 * (limit + 2)
