"""The task infill: gaps, and what surrounds them."""

import pytest

from codefit.code.languages import LANGUAGES
from codefit.code.syntax import Syntax
from tests.support.documents import SOURCES, build, document_of


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_gap_with_what_surrounds_it_is_the_file(language):
    text = SOURCES[language] * 3
    pairs, skipped = build("infill", document_of(language, text), max_prompt_tokens=120, max_completion_tokens=30)
    assert len(pairs) > 10
    assert set(skipped) <= {"gap used before", "nothing that fits", "only closing brackets"}
    for pair in pairs:
        assert pair.prompt + pair.completion + pair.suffix in text
        assert pair.finish_reason == "stop"
        assert pair.completion == pair.completion.rstrip()
        assert len(pair.completion) <= 3 * 31
        assert len(pair.prompt) + len(pair.suffix) <= 3 * 120
    whole = [pair for pair in pairs if len(pair.prompt) + len(pair.suffix) > 3 * 110]
    assert len(whole) > 0.8 * len(pairs)


def test_most_gaps_are_pieces_of_syntax():
    text = SOURCES["python"] * 60
    syntax = Syntax(text, LANGUAGES["python"])
    pairs, _ = build("infill", document_of("python", text), window_step=24)
    edges = set()
    waiting = [syntax.root]
    while waiting:
        node = waiting.pop()
        edges.add(syntax.span(node)[0])
        waiting += node.children
    lines = [0]
    for line in text.split("\n"):
        lines.append(lines[-1] + len(line) + 1)
    begins = [lines[int(pair.id.split(":")[-2]) - 1] + int(pair.id.split(":")[-1]) - 1 for pair in pairs]
    assert [text.startswith(p.completion, at) for p, at in zip(pairs, begins, strict=True)] == [True] * len(pairs)
    assert 0.85 < sum(at in edges for at in begins) / len(begins) < 1
