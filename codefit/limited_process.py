"""Work on untrusted input that might not end: it runs in a separate process with limits on time and memory.

A chat template is a program, and some regular expressions take practically for ever. The process runs this module; it
reads the task from standard input and writes the result to standard output, both as JSON.
"""

import contextlib
import functools
import json
import os
import re
import resource
import signal
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from codefit.errors import UserError, first_line
from codefit.manifest import ROOT

SECONDS = 5  # for the work itself, without the start of the process
START = 60  # seconds for the start of the process, even on a slow machine
MEMORY = 1 << 30  # bytes in addition to what the process uses before the work
LONGEST = 1 << 20  # characters of a rendered template


@functools.cache
def render_chat(template: str, message: str, special_tokens: str, system: str = "") -> str:
    """Return a chat template rendered with one user message, up to the answer, as by `apply_chat_template`.

    Args:
        template: Jinja.
        message: the user message.
        special_tokens: the names and texts of the tokenizer's special tokens, as JSON.
        system: the system prompt; without it, the template's own, if it has one.

    Raises:
        UserError: the template is invalid, raises an error, takes too long, or needs too much memory.
    """
    task = {"task": "chat", "template": template, "message": message, "special_tokens": json.loads(special_tokens)}
    task["system"] = system
    answer = _run(task, "the chat template of the tokenizer", "repair it, or choose another base model")
    return str(answer)


def try_patterns(patterns: Sequence[str], names: Sequence[str], place: str) -> None:
    """Match the regular expressions of an adapter against the module names once, as PEFT will do.

    Raises:
        UserError: one is not a regular expression, or takes too long.
    """
    if patterns:
        task = {"task": "patterns", "patterns": list(patterns), "names": list(names)}
        _run(task, f"a regular expression in {place}", "list the names of the modules there instead")


def _run(task: dict[str, Any], what: str, remedy: str) -> Any:
    """Run a task in the process and return its result."""
    place = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))}
    command = [sys.executable, "-P", "-m", "codefit.limited_process"]
    try:
        done = subprocess.run(
            command, input=json.dumps(task), capture_output=True, text=True, env=place, timeout=START, check=False
        )
    except subprocess.TimeoutExpired:
        raise UserError(f"{what} does not end; {remedy}.") from None
    if done.returncode == -signal.SIGALRM:
        raise UserError(f"{what} does not end within {SECONDS} seconds; {remedy}.")
    try:
        answer = json.loads(done.stdout)
    except ValueError:
        raise UserError(f"{what} ended its process with code {done.returncode}; {remedy}.") from None
    if "error" in answer:
        raise UserError(f"{what} cannot be used ({answer['error']}); {remedy}.")
    return answer["answer"]


# ---------------------------------------------------------------------------------------------- in the process


def _limit() -> None:
    """Limit the time and the memory of this process."""
    with contextlib.suppress(OSError, ValueError):  # no /proc, or a lower limit is already set
        with open("/proc/self/statm", encoding="ascii") as file:
            held = int(file.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (held + MEMORY, held + MEMORY))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(SECONDS)


def _render(template: str, message: str, special_tokens: dict[str, Any], system: str) -> str:
    from transformers.utils.chat_template_utils import render_jinja_template

    _limit()
    conversation = [{"role": "user", "content": message}]
    if system:
        conversation.insert(0, {"role": "system", "content": system})
    found: Any = render_jinja_template(
        conversations=[conversation], chat_template=template, add_generation_prompt=True, **special_tokens
    )
    text: str = found[0][0]
    if len(text) > LONGEST:
        raise ValueError(f"it gives {len(text)} characters")
    return text


def _match(patterns: list[str], names: list[str]) -> str:
    _limit()
    for pattern in patterns:
        whole, end = re.compile(pattern), re.compile(rf"(.*\.)?({pattern})$")
        for name in names:
            whole.fullmatch(name)
            end.match(name)
    return ""


def main() -> None:
    """Do the task given on standard input."""
    task = json.load(sys.stdin)
    kind = task.pop("task")
    try:
        answer = {"answer": (_render if kind == "chat" else _match)(**task)}
    except (Exception, RecursionError) as error:  # an untrusted program can raise anything
        answer = {"error": first_line(error)}
    signal.alarm(0)
    sys.stdout.write(json.dumps(answer))


if __name__ == "__main__":
    main()
