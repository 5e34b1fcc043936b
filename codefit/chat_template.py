"""The prompt of an instruct model: the token ids that its chat template puts around a user message. No torch."""

import json
from typing import Any

from codefit import limited_process
from codefit.errors import UserError, first_line
from codefit.tokenization import Codec

MARK = "codefit asks"  # placeholder of the message in a template; no template escapes letters


def around_message(tokenizer: Any, codec: Codec, system: str = "") -> tuple[list[int], list[int]]:
    """Return the ids before and after a user's message in the chat template of a tokenizer.

    Args:
        tokenizer: of Transformers.
        codec: the same tokenizer's, by `tokenization.codec`.
        system: the system prompt; without it, the template's own, if it has one.

    Raises:
        UserError: it has no chat template, or one that does not show a message once.
    """
    if not getattr(tokenizer, "chat_template", None):
        raise UserError(
            "the tokenizer of this base model has no chat template; prepare the data with --prompt_format plain, "
            "or choose a chat model."
        )
    try:
        template = tokenizer.get_chat_template()
    except ValueError as error:  # there are several templates without a default
        raise UserError(f"the tokenizer has no default chat template ({first_line(error)}); set one.") from None
    special = json.dumps(tokenizer.special_tokens_map, default=str)
    parts = limited_process.render_chat(template, MARK, special, system).split(MARK)
    if len(parts) != 2:
        raise UserError(
            f"the chat template of the tokenizer contains a message {len(parts) - 1} times, not once; prepare the "
            "data with --prompt_format plain, or choose another base model."
        )
    return list(tokenizer(parts[0], add_special_tokens=False).input_ids), codec.template_ids(parts[1])
