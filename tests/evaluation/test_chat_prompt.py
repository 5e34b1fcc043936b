"""The base of a chat model, asked to continue code in its chat template."""

from typing import Any

import pytest

import benchmarking
from codefit.encoding import Encoder
from codefit.errors import UserError
from codefit.evaluation import contenders
from codefit.evaluation.chat_prompt import ASKED, FOLLOWED, ChatEncoder
from codefit.evaluation.result_schema import Model, Role
from codefit.manifest import ROOT
from codefit.records import Pair

TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|pad|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
CODE = 'def half(x):\n    """Half of x."""\n'


@pytest.fixture
def tokenizer(tiny_tokenizer: Any) -> Any:
    made = type(tiny_tokenizer)(
        tokenizer_object=tiny_tokenizer.backend_tokenizer, eos_token="<|endoftext|>", pad_token="<|pad|>"
    )
    made.chat_template = TEMPLATE
    return made


def spelled(encoder: Encoder, code: str, suffix: str | None = None) -> str:
    text: str = encoder.tokenizer.decode(encoder.pair_ids(Pair("1", "completion", code, "", suffix=suffix)))
    return text


def test_code_is_in_a_message_and_the_answer_begins_with_its_last_line(tokenizer: Any) -> None:
    asked = f"<|im_start|>user\n{ASKED}\n\n```\n{CODE}\n```<|pad|>\n<|im_start|>assistant\n```\n"
    encoder = ChatEncoder(tokenizer, 400)
    assert spelled(encoder, CODE) == asked + '    """Half of x."""\n'
    assert spelled(encoder, f"{CODE}    return x").endswith("assistant\n```\n    return x")
    assert spelled(encoder, f"{CODE}\n\n").endswith('assistant\n```\n    """Half of x."""\n\n\n')
    assert spelled(encoder, "").endswith("assistant\n```\n")
    assert spelled(encoder, "a" * 500).endswith("assistant\n```\n" + "a" * 200)


def test_a_system_prompt_comes_first(tokenizer: Any) -> None:
    encoder = ChatEncoder(tokenizer, 400, system="Write Python.")
    assert spelled(encoder, CODE).startswith(f"<|im_start|>system\nWrite Python.<|pad|>\n<|im_start|>user\n{ASKED}")


def test_the_code_after_the_cursor_is_in_the_message(tokenizer: Any) -> None:
    text = spelled(ChatEncoder(tokenizer, 400), "a = ", "\nprint(a)")
    assert f"```\na = \n```\n\n{FOLLOWED}\n\n```\n\nprint(a)\n```<|pad|>" in text
    assert text.endswith("```\na = ")
    assert FOLLOWED not in spelled(ChatEncoder(tokenizer, 400, prompt_only=True), "a = ", "\nprint(a)")


def test_code_is_cut_as_for_the_base_and_the_rest_fits_into_the_overhead(tokenizer: Any) -> None:
    pair = Pair("1", "completion", "x = 1\n" * 300, "y")
    [plain], [chat] = (
        list(encoder.samples([pair])) for encoder in (Encoder(tokenizer, 90), ChatEncoder(tokenizer, 90))
    )
    assert chat.cut == plain.cut > 0
    kept = tokenizer.decode(plain.ids[: plain.start])
    assert f"```\n{kept}\n```" in tokenizer.decode(chat.ids)
    assert chat.start <= 90 + ChatEncoder(tokenizer, 90).overhead


@pytest.mark.parametrize(
    ("written", "answer"),
    [
        ("    return x / 2\n```\nThis halves x.", "    return x / 2\n"),
        ("    return x / 2", "    return x / 2"),
        ("```", ""),
        ("    return '```'\n", "    return '```'\n"),
    ],
)
def test_an_answer_ends_with_its_code_block(tokenizer: Any, written: str, answer: str) -> None:
    encoder = ChatEncoder(tokenizer, 90)
    assert encoder.decode(encoder.completion_ids(written)) == answer


def test_a_base_without_a_chat_template_is_refused() -> None:
    base = str(ROOT / "data" / "base")
    models = {
        "base": Model(name=base, label="base", role=Role.BASE),
        "chat": Model(name=base, label="base in chat", role=Role.CHAT),
    }
    with pytest.raises(UserError, match="base has no chat template and cannot be asked in chat; omit --chat_base, or"):
        contenders.encoders(models, 64)


def test_a_system_prompt_needs_a_base_in_chat(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        benchmarking.main(["some/adapter", "--system_prompt", "Write Python."])
    assert "--system_prompt has no effect without --chat_base" in capsys.readouterr().err
