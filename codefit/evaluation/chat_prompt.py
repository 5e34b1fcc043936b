"""The prompt of its own for the base of a chat model: it is asked to continue code, and its answer is begun for it.

A chat model that gets bare code is undersold. Here the code is in a user message, in the model's chat template, and the
answer begins with a code fence and the last line of the code. So the model continues like every other one, under the
same limits and stop conditions; what it writes counts up to the closing fence.
"""

import functools
import re
from collections.abc import Iterable, Sequence
from typing import Any

from codefit import chat_template
from codefit.encoding import Encoder

ASKED = (
    "Continue this code exactly where it ends. Answer with one code block that begins with the last line of the code, "
    "and write nothing else."
)
FOLLOWED = "What you write is followed by this code:"
FENCE = "```"
CLOSING = re.compile(r"^[ \t]*```", re.MULTILINE)
LAST_LINE = re.compile(r"[^\n]*\S[^\n]*\n*\Z")
LONGEST = 200  # characters of the last line that begin the answer


class ChatEncoder(Encoder):
    """Encodes prompts as a question to a chat model, and decodes its answers up to the closing code fence.

    The code of a prompt is cut as for the base; `overhead` is how many tokens the rest of a prompt has at most.
    """

    def __init__(
        self,
        tokenizer: Any,
        max_prompt_tokens: int,
        prompt_only: bool = False,
        ends: Iterable[int] = (),
        system: str = "",
    ) -> None:
        super().__init__(tokenizer, max_prompt_tokens, prompt_only, ends)
        self.system = system

    @functools.cached_property
    def _chat_layout(self) -> tuple[list[int], list[int]]:
        return chat_template.around_message(self.tokenizer, self.codec, self.system)

    @property
    def overhead(self) -> int:
        """The most tokens of a prompt besides its code."""
        head, tail = self._chat_layout
        asked = self.ids([f"{ASKED}\n\n{FENCE}\n\n{FENCE}\n\n{FOLLOWED}\n\n{FENCE}\n\n{FENCE}{FENCE}\n"])[0]
        return len(head) + len(tail) + len(asked) + 2 * LONGEST

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of generated ids up to the closing fence."""
        text = super().decode(ids)
        closing = CLOSING.search(text)
        return text[: closing.start()] if closing else text

    def _prompt(self, prefix: list[int], suffix: list[int] | None, suffix_first: bool = False) -> tuple[list[int], int]:
        """Return the ids of a question with the code, up to the begun answer, and the number of tokens cut."""
        room = self.max_prompt_tokens
        after = (suffix or [])[: max(room // 4, room - len(prefix))]
        kept = prefix[max(0, len(prefix) + len(after) - room) :]
        code = super().decode(kept)
        asked = f"{ASKED}\n\n{FENCE}\n{code}\n{FENCE}"
        if after:
            asked += f"\n\n{FOLLOWED}\n\n{FENCE}\n{super().decode(after)}\n{FENCE}"
        begun = LAST_LINE.search(code)
        message, answer = self.ids([asked, f"{FENCE}\n{begun[0][-LONGEST:] if begun else code[-LONGEST:]}"])
        head, tail = self._chat_layout
        return [*head, *message, *tail, *answer], len(prefix) + len(suffix or []) - len(kept) - len(after)
