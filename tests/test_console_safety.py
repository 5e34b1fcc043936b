"""What a terminal would obey and what nobody may read is never printed: control characters, secrets of URLs."""

import sys

import pytest

from codefit import cli, console, manifest
from codefit.errors import UserError

ESCAPED = [
    ("\x1b[2J\x07", "\\x1b[2J\\x07"),
    ("a\rb\nc\td", "a\\rb\\nc\\td"),
    ("\x9b31m\x7f", "\\x9b31m\\x7f"),
    ("a\u202eb\u2066c\u2069", "a\\u202eb\\u2066c\\u2069"),
    ("half \ud800", "half \\ud800"),
    ("\u2028\u200f\ufeff", "\\u2028\\u200f\\ufeff"),
]
PLAIN = "naïve 日本語 \U0001f469\u200d\U0001f4bb שלום"

HIDING = [
    "https://hunter2@host/o/r",
    "https://:hunter2@host/o/r",
    "https://me:hunter2@host/o/r",
    "https://me:hunter2%40host/o/r",
    "https://me:hun%40hunter2@host/o/r",
    "https%3A//me:hunter2@host/o/r",
    "https://me:a/hunter2@host/o/r",
    "https:me:hunter2@host/o/r",
    "https:/me:hunter2@host/o/r",
    "https://me:hunter2@[::1]:80/o/r",
    "https://host\\@me:hunter2@host/o/r",
    "http://me:hunter2@host/o/r",
    "ftp://me:hunter2@host/o/r",
    "ssh://me:hunter2@host/o/r",
    "ssh://:hunter2@host/o/r",
    "//me:hunter2@host/o/r",
    "me:hunter2@host:o/r",
    "me%3Ahunter2@host:o/r",
    ":hunter2@host/o/r",
    "me:a/hunter2@host/o/r",
    "git@host:o/r?token=hunter2",
    "host/o/r?api-key=hunter2",
    *(
        f"https://host/o/r{mark}{name}=hunter2"
        for mark in ("?", "?a=b&", "#")
        for name in ("token", "access_token", "private_token", "key", "api_key", "password", "X-Amz-Signature", "PWD")
    ),
    "https://host/o/r?%74oken=hunter2&x=1",
]
OPEN = [
    "https://github.com/o/r",
    "https://localhost:8000/x@y",
    "https://[::1]:80/x",
    "http://127.0.0.1:8000; try again",
    "ssh://git@host:22/o/r",
    "git@github.com:o/r.git",
    "file:///a/b",
    "https://host/o/r?tokenizer=x&a=100%25",
    "a note: write to me@example.com // or not, 100% sure",
]


@pytest.mark.parametrize(("text", "shown"), ESCAPED)
def test_control_characters_are_shown_as_escapes(text: str, shown: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert console.printable(text) == shown
    assert console.table([[text]], ["name"]).splitlines()[2:] == [shown]
    console.show(f"{text}")
    assert capsys.readouterr().out == shown.replace("\\n", "\n").replace("\\t", "\t") + "\n"
    list(console.progress([1], text))
    assert text not in capsys.readouterr().err


def test_texts_of_all_scripts_stay_as_they_are() -> None:
    assert console.printable(PLAIN) == PLAIN


@pytest.mark.parametrize(("text", "shown"), ESCAPED)
def test_a_stated_problem_is_one_line_whatever_it_quotes(
    text: str, shown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def main() -> None:
        raise UserError(f"{text} is not there.")

    with pytest.raises(SystemExit):
        cli.run(main)
    assert capsys.readouterr().err == f"error: {shown} is not there.\n"


def test_a_wrong_flag_is_shown_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.Parser("").parse_args(["--x\x1b[2J"])
    assert "\\x1b[2J" in capsys.readouterr().err


@pytest.mark.parametrize("text", HIDING)
def test_secrets_of_urls_are_hidden(
    text: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "hunter2" not in console.masked(text)
    assert console.masked(console.masked(text)) == console.masked(text)

    def main() -> None:
        raise UserError(f"cannot read '{text}': no.")

    with pytest.raises(SystemExit):
        cli.run(main)
    assert "hunter2" not in capsys.readouterr().err
    monkeypatch.setattr(sys, "argv", ["x.py", "--source", text, f"--source={text}"])
    parser = cli.Parser("")
    parser.add_argument("--source", nargs="+")
    made = manifest.Manifest(vars(parser.parse_args(["--source", text])))
    assert "hunter2" not in str(made.content) + manifest.command()


@pytest.mark.parametrize("text", OPEN)
def test_texts_without_secrets_stay_as_they_are(text: str) -> None:
    assert console.masked(text) == text
