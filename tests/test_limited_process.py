"""Chat templates and patterns of others have an end: the result, or one sentence within seconds."""

import json
import time

import pytest

from codefit import limited_process
from codefit.errors import UserError

CHATML = (
    "{{ bos_token }}{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] }}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.mark.parametrize(
    "template",
    [CHATML, "{% generation %}{{ messages[0].content | trim }}{% endgeneration %}", "{{ strftime_now('%Y') }}"],
)
def test_a_template_gives_what_transformers_gives(tiny_tokenizer, template):
    special = {"bos_token": "<s>"}
    found = limited_process.render_chat(template, "hello", json.dumps(special))
    asked = [{"role": "user", "content": "hello"}]
    wanted = tiny_tokenizer.apply_chat_template(
        asked, chat_template=template, tokenize=False, add_generation_prompt=True, **special
    )
    assert found == wanted


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{{ raise_exception('no users here') }}", "cannot be used (no users here)"),
        ("{% if %}", "cannot be used (Expected an expression"),
        ("{{ ''.__class__.__mro__ }}", "is unsafe"),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "recursion"),
        ("{{ 'a' * 3000000 }}", "it gives 3000000 characters"),
        (
            "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
            "does not end within 5 seconds",
        ),
    ],
)
def test_a_template_that_raises_or_does_not_end_is_one_sentence(template, said):
    began = time.monotonic()
    with pytest.raises(UserError) as caught:
        limited_process.render_chat(template, "hello", "{}")
    assert said in str(caught.value)
    assert time.monotonic() - began < 30


def test_a_pattern_that_does_not_end_is_one_sentence():
    names = ["model.layers.0." + "a" * 50 + "!"]
    with pytest.raises(
        UserError, match=r"a regular expression in x.json does not end within 5 seconds; list the names"
    ):
        limited_process.try_patterns([".*(a+)+$"], names, "x.json")
    with pytest.raises(UserError, match=r"a regular expression in x.json cannot be used \(missing \)"):
        limited_process.try_patterns(["("], names, "x.json")


def test_the_patterns_of_other_tools_are_taken():
    unsloth = (
        r"(?:.*?(?:language|text).*?(?:self_attn|mlp).*?(?:q_proj|v_proj).*?)|(?:\bmodel\.layers\.[\d]{1,}\.(?:mlp))"
    )
    limited_process.try_patterns(
        [unsloth, "q_proj"], [f"model.layers.{n}.self_attn.q_proj" for n in range(200)], "x.json"
    )
