"""Docstrings that are worth learning from, and those that are left out, each with its reason."""

from collections import Counter

import pytest

from codefit.records import Document
from codefit.tasks import docstring_quality, summary
from codefit.tasks.task import TaskOptions

CODE = "class JobRunner:\n    def __init__(self, job, poll_interval=5, **options):\n        self.job = job\n"
GOOD = """Start the jobs of a queue one after the other and wait for each of them.

    :param job: the first one
    :param float poll_interval: seconds between two looks
    :param options: passed on
"""
FAULTS = {
    "unfinished docstring": "Start the jobs of a queue one after the other. TODO: say what happens on errors.",
    "description under 8 words": "Runs jobs.\n\n:param job: a very long description of the parameter that says it all",
    "docstring repeats the name": "This is a class which represents the runner of jobs: it is a job runner for jobs.",
    "docstring with parameters that do not exist": GOOD.replace(":param options:", ":param retries:"),
}


def test_a_good_docstring_has_no_fault():
    assert docstring_quality.fault(GOOD, "JobRunner", CODE) == ""


@pytest.mark.parametrize("fault", FAULTS)
def test_a_poor_docstring_has_its_fault(fault):
    assert docstring_quality.fault(FAULTS[fault], "JobRunner", CODE) == fault


@pytest.mark.parametrize(
    ("docstring", "names"),
    [
        (GOOD, {"job", "poll_interval", "options"}),
        (
            "Text.\n\nArgs:\n    job (str): the one\n        to: start\n    **options: more\n\nReturns:\n    x: y\n",
            {"job", "options"},
        ),
        ("Text.\n\n@param job the one\n@return nothing", {"job"}),
        ("Text about Args: and :param without a name.", set()),
        ("Parameters:\n", set()),
    ],
)
def test_the_parameters_that_a_docstring_describes(docstring, names):
    assert docstring_quality.parameters(docstring) == names


@pytest.mark.parametrize(
    ("docstring", "description"),
    [
        ("One two.\n\nArgs:\n    a: b", "One two.\n\n"),
        ("One two.\n\nParameters\n----------\na : int", "One two.\n\n"),
        ("One two.\n:meta private:", "One two.\n"),
        ("Notes about one two", "Notes about one two"),
    ],
)
def test_a_description_ends_before_the_first_section(docstring, description):
    assert docstring_quality.description(docstring) == description


def test_only_with_the_flag_are_classes_left_out():
    bodies = [*FAULTS.values(), GOOD]
    text = "\n".join(
        f'class JobRunner:\n    """{body}\n\n    .. note:: {"more words " * 9}"""\n\n'
        "    def __init__(self, job, poll_interval=5, **options):\n        self.job = job\n\n"
        for body in bodies
    )
    document = Document(text, "a.py", language="python")
    plain = TaskOptions(max_prompt_tokens=600, max_completion_tokens=600, window_step=16, max_pairs_per_file=99, seed=0)
    strict = TaskOptions(600, 600, 16, 99, 0, check_docstrings=True)
    starts, skipped = range(len(text)), Counter()
    assert len(list(summary.build_pairs(document, starts, plain, skipped))) == len(bodies)
    assert not skipped
    kept = list(summary.build_pairs(document, starts, strict, skipped))
    assert skipped["unfinished docstring"] == skipped["docstring with parameters that do not exist"] == 1
    assert len(kept) + skipped.total() == len(bodies)
