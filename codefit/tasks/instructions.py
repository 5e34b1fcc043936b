"""How a model is asked for something that is not the continuation of a text: an instruction around a piece of code.

"plain" shows the code and begins the answer with one comment line, "verbose" says in words what is wanted, before the
code and behind it, and "chat" is the verbose instruction as the message of a user, which codefit/encoding.py lays out
with the model's own chat template.
"""

from codefit.code.languages import Language

PROMPT_FORMATS = ("plain", "verbose", "chat")
TOKENS = 64  # kept free for an instruction and for a chat template


def question(code: str, language: Language, prompt_format: str, wanted: str, instruction: str) -> str:
    """Return a prompt.

    Args:
        code: what is asked about.
        language: of the code.
        prompt_format: one of PROMPT_FORMATS.
        wanted: what the answer is, as a few words: "Docstring of the class Reader".
        instruction: one or two sentences that ask for it.
    """
    if prompt_format == "plain":
        return f"{code}\n\n{language.line_comments[0]} {wanted}:\n"
    fenced = f"{instruction}\n\n```{language.name}\n{code}\n```\n"
    return fenced if prompt_format == "chat" else f"{fenced}\n{wanted}:\n"
