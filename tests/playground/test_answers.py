"""The completions of the page: those of complete.py, with the probabilities that the model gives."""

import pytest
import torch

import complete
from codefit.encoding import Encoder
from codefit.errors import UserError
from codefit.generation import sampling
from codefit.generation.decoding import Decoding
from codefit.modeling import loading
from codefit.playground import server
from codefit.playground.answers import Models, pieces

PROMPT = "fun add(a: Int"
NEW = 6


@pytest.fixture(scope="module")
def loaded(made):
    tokenizer, model = loading.load(str(made / "adapter"))
    return model, Encoder(tokenizer, 64)


def greedy(model, encoder):
    options = {"max_new_tokens": NEW, "eos_ids": encoder.eos_ids, "pad_id": encoder.pad_id}
    return sampling.sample(model, encoder.prompt_ids(PROMPT), Decoding(), **options)[0].ids


def test_base_and_adapter_answer_as_each_alone(loaded):
    model, encoder = loaded
    base, fitted = Models(model, encoder, ("base", "adapter")).answers(PROMPT, None, NEW)
    with model.disable_adapter():
        alone = greedy(model, encoder)
    assert (base.label, fitted.label) == ("base", "adapter")
    assert "".join(token.text for token in base.tokens) == encoder.decode(alone)
    assert "".join(token.text for token in fitted.tokens) == encoder.decode(greedy(model, encoder))
    assert base.tokens != fitted.tokens


def test_probabilities_are_those_of_the_model(loaded):
    model, encoder = loaded
    (answer,) = Models(model, encoder, ("adapter",)).answers(PROMPT, None, NEW)
    ids, written = encoder.prompt_ids(PROMPT), greedy(model, encoder)
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([ids + written])).logits[0, len(ids) - 1 : -1]
    wanted = torch.softmax(logits.float(), -1).max(-1).values
    assert [token.probability for token in answer.tokens] == pytest.approx(wanted.tolist(), abs=2e-3)  # bfloat16
    for token in answer.tokens:
        assert token.others[0][1] == pytest.approx(token.probability)  # greedy: the likeliest one
        assert sorted((value for _, value in token.others), reverse=True) == [value for _, value in token.others]


def test_a_completion_stays_in_the_context(loaded):
    model, encoder = loaded
    (answer,) = Models(model, Encoder(encoder.tokenizer, 250), ("adapter",)).answers("x" * 250, None, 500)
    assert len(answer.tokens) <= loading.context_of(model) - 250


def test_a_character_of_several_tokens_is_shown_whole(loaded):
    _, encoder = loaded
    ids = encoder.ids(["aé→b"])[0]
    assert len(ids) == 7  # a token per byte
    assert pieces(encoder, ids) == ["a", "", "é", "", "", "→", "b"]
    assert "".join(pieces(encoder, ids[:2])) == encoder.decode(ids[:2])


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--prompt", "x"], "--web takes the code from its page; omit --prompt."),
        (["--file", "x.py"], "--web takes the code from its page; omit --file."),
        (["--with_base"], "--web always shows the base of an adapter next to it; omit --with_base."),
        (["--temperature", "0.5"], "--web decodes greedily, to show probabilities; omit the flags of sampling"),
    ],
)
def test_flags_without_effect_on_the_page_are_refused(flags, sentence):
    with pytest.raises(UserError, match=sentence):
        complete.main(["--hf_repository", "x", "--web", *flags])


def test_the_script_serves_an_adapter_next_to_its_base(made, monkeypatch):
    served = []
    monkeypatch.setattr(server, "serve", lambda *given: served.append(given))
    complete.main(["--hf_repository", str(made / "adapter"), "--web", "--max_new_tokens", str(NEW)])
    ((ask, names, has_infill, new_tokens, port),) = served
    assert names == (str(made / "base"), str(made / "adapter"))
    assert (has_infill, new_tokens, port) == (False, NEW, 0)
    assert [answer.label for answer in ask(PROMPT, None, NEW)] == list(names)
