"""Every pair of every task is found in its document, and no pair of another one is."""

import dataclasses

import pytest

from codefit.code.languages import LANGUAGES
from codefit.curation.pair_texts import foreign_text
from codefit.tasks.instructions import PROMPT_FORMATS
from codefit.tasks.task import TASKS
from tests.support.documents import SOURCES, build, document_of


@pytest.mark.parametrize("prompt_format", PROMPT_FORMATS)
@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("task", TASKS)
def test_pairs_are_found_only_in_their_document(task, language, prompt_format):
    pairs, _ = build(task, document_of(language), prompt_format=prompt_format)
    assert pairs
    other = "".join(reversed(SOURCES[language]))
    for pair in pairs:
        assert foreign_text(pair, SOURCES[language]) is None
        assert foreign_text(pair, other) is not None


@pytest.mark.parametrize("field", ["prompt", "completion", "suffix"])
def test_the_field_that_is_not_in_the_document_is_named(field):
    pair = build("infill", document_of("python"))[0][0]
    changed = dataclasses.replace(pair, **{field: "raise SystemExit  # elsewhere"})
    assert foreign_text(changed, SOURCES["python"]) == field
