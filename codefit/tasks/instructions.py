"""Prompts for tasks that are not the continuation of a text: an instruction with a piece of code.

"plain" gives the code and one comment line that starts the answer. "verbose" gives the instruction in words before and
after the code. "chat" is the verbose instruction as a user message, which codefit/encoding.py lays out with the chat
template of the model.
"""

import re

from codefit.code.languages import Language

PROMPT_FORMATS = ("plain", "verbose", "chat")
TOKENS = 64  # reserved for the instruction
CHAT_TOKENS = 96  # for the instruction and the chat template: the task naming takes 72 of SmolLM2's


def room_for_code(max_prompt_tokens: int, prompt_format: str) -> int:
    """Return how many tokens of code a prompt has room for besides its instruction."""
    return max(max_prompt_tokens - (CHAT_TOKENS if prompt_format == "chat" else TOKENS), TOKENS)


def question(code: str, language: Language, prompt_format: str, wanted: str, instruction: str) -> str:
    """Return a prompt.

    Args:
        code: the code that the question is about.
        language: the language of the code.
        prompt_format: one of PROMPT_FORMATS.
        wanted: a short name of the answer: "Docstring of the class Reader".
        instruction: one or two sentences that ask for it.
    """
    if prompt_format == "plain":
        return f"{code}\n\n{language.line_comments[0]} {wanted}:\n"
    fenced = f"{instruction}\n\n```{language.name}\n{code}\n```\n"
    return fenced if prompt_format == "chat" else f"{fenced}\n{wanted}:\n"


def code_of(prompt: str, language: Language) -> str:
    """Return the code that a prompt of `question` is about."""
    head, _, last = prompt.rstrip().rpartition("\n")
    if last.startswith(language.line_comments[0]):
        return head.removesuffix("\n")
    fenced = re.search(r"\n\n```[^\n]*\n(.*)\n```(?:\n|$)", prompt, re.DOTALL)
    return fenced[1] if fenced else prompt
