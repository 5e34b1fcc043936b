"""The flags of curation, as preprocess_data.py shows them, with their types."""

import argparse
import re

from codefit import cli
from codefit.curation.filters import PROFILES, parsed_rule


def add_curation_flags(parser: cli.Parser) -> None:
    """Add the flags of curation: what is rejected and what is changed before pairs are built."""
    parser.add_argument("--profile", choices=PROFILES, default="standard", help="how strict the filter rules are")
    parser.add_argument(
        "--rule",
        nargs="+",
        type=rule,
        default=[],
        metavar="NAME=VALUE",
        help="change the limit of single rules, e.g. long_line=2000 few_letters=off",
    )
    parser.add_argument("--keep_matching", type=regex, metavar="REGEX", help="keep only files in which this occurs")
    parser.add_argument(
        "--drop_path",
        nargs="+",
        default=[],
        metavar="GLOB",
        help="reject files by path, e.g. setup.py 'tests/**' 'docs/*.py'; a name without / counts in every folder",
    )
    parser.add_argument("--format", action="store_true", help="format Python with ruff first")
    parser.add_argument("--strip_comments", action="store_true", help="remove comments")
    parser.add_argument("--strip_docstrings", action="store_true", help="remove Python docstrings")
    parser.add_argument(
        "--redact",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="replace credentials, e-mail and IP addresses by <KEY>, <EMAIL> and <IP>",
    )


def rule(text: str) -> str:
    """Argparse type: a `NAME=VALUE` with the name of a rule and its limit, unchanged."""
    try:
        parsed_rule(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def regex(text: str) -> str:
    """Argparse type: a regular expression, unchanged."""
    try:
        re.compile(text)
    except (re.error, RecursionError, OverflowError) as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a regular expression: {error}") from None
    return text
