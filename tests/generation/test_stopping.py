"""Stop conditions: at which token they are met, and which part of the text is kept."""

import pytest

from codefit import encoding
from codefit.generation import stopping


@pytest.fixture(scope="module")
def encoder(tiny_tokenizer):
    return encoding.Encoder(tiny_tokenizer, 100)


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("return x\nreturn y", "return x"),
        ("\n    return x\n\n\n", "\n    return x"),
        ("    return x", "    return x"),
        ("\n\n", "\n\n"),
        ("", ""),
        ("foo(a,\r\nb)", "foo(a,\r"),
    ],
)
def test_a_line_ends_where_its_text_does(encoder, text, kept):
    has_ended = stopping.rule("line", encoder).has_ended
    ids = encoder.completion_ids(text)
    ends = [at for at in range(1, len(ids) + 1) if has_ended(ids[:at])]
    first = ids[: ends[0]] if ends else ids
    assert stopping.text_until("line", encoder.decode(first)) == kept
    assert bool(ends) == (kept != text)
    assert stopping.text_until("end", text) == text


def test_end_of_sequence_needs_no_stop_condition(encoder):
    assert stopping.rule("end", encoder) is None
    assert stopping.rule("line", encoder).name == "line"
    assert stopping.RULES == ("end", "line", "body", "statement")


@pytest.mark.parametrize(
    ("names", "rule"),
    [
        (["completion"], "end"),
        (["line", "line"], "line"),
        (["method"], "body"),
        (["line", "completion"], "end"),
        (["unknown"], "end"),
        (["line", "unknown"], "end"),
        ([], "end"),
    ],
)
def test_a_benchmark_has_the_stop_condition_of_its_tasks(names, rule):
    assert stopping.of_tasks(names) == rule
