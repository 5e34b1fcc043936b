"""Trying a model: greedy, drawn and searched completions, from a prompt, standard input, or around a hole."""

import dataclasses
import io
import sys

import peft
import pytest
import torch
import transformers

import complete
from codefit.encoding import Encoder
from codefit.errors import UserError
from codefit.generation import sampling
from codefit.modeling import loading

NEW = 12


def completed(capsys, tiny_base, *flags):
    words = ["--hf_repository", str(tiny_base), "--max_new_tokens", str(NEW)]
    complete.main([*words, *(flags if "--prompt" in flags else (*flags, "--prompt", "def f("))])
    return capsys.readouterr().out


@pytest.fixture(scope="module")
def loaded(tiny_base):
    tokenizer, model = loading.load(str(tiny_base))
    return Encoder(tokenizer, 64), model


def sampled(loaded, how, prompt="def f(", eos_ids=()):
    encoder, model = loaded
    ids = encoder.prompt_ids(prompt)
    options = {"max_new_tokens": NEW, "eos_ids": [*encoder.eos_ids, *eos_ids], "pad_id": encoder.pad_id}
    return ids, sampling.sample(model, ids, sampling.Decoding(**how), **options)


@torch.no_grad()
def log_probabilities(model, prompt, written):
    """Return the log-probabilities of all tokens at each place of a completion, shape (tokens, vocabulary)."""
    logits = model(input_ids=torch.tensor([prompt + written])).logits[0, len(prompt) - 1 : -1]
    return torch.log_softmax(logits.float(), -1)


@pytest.mark.parametrize("flags", [["--top_k", "1"], ["--temperature", "0.0001"], ["--top_p", "0.0001"]])
def test_top_k_1_is_the_greedy_completion(capsys, tiny_base, flags):
    assert completed(capsys, tiny_base, *flags) == completed(capsys, tiny_base)


def test_sampling_depends_on_the_seed(capsys, tiny_base):
    draws = [completed(capsys, tiny_base, "--temperature", "2", "--seed", seed) for seed in ("1", "1", "2")]
    assert draws[0] == draws[1] != draws[2]


@pytest.mark.parametrize("k", [2, 7])
def test_top_k_samples_from_the_k_most_likely_tokens(loaded, k):
    ids, found = sampled(loaded, {"top_k": k, "temperature": 5.0, "num_return_sequences": 20})
    ranks = []
    for completion in found:
        table = log_probabilities(loaded[1], ids, completion.ids)
        own = table.gather(1, torch.tensor(completion.ids)[:, None])
        ranks += (table > own).sum(1).tolist()
    assert max(ranks) == k - 1  # as far as allowed, and not further


def test_top_p_samples_from_the_most_likely_tokens_that_reach_p(loaded):
    ids, found = sampled(loaded, {"top_p": 0.5, "num_return_sequences": 20})
    for completion in found:
        table = log_probabilities(loaded[1], ids, completion.ids).exp()
        own = table.gather(1, torch.tensor(completion.ids)[:, None])
        likelier = torch.where(table > own, table, 0.0).sum(1)
        assert (likelier < 0.5 + 1e-4).all()


def test_without_top_k_a_rare_token_can_be_sampled(loaded):
    """transformers draws among 50 when nothing is said; ours draws among all."""
    ids, found = sampled(loaded, {"temperature": 100.0, "num_return_sequences": 20})
    table = log_probabilities(loaded[1], ids, found[0].ids)
    own = table.gather(1, torch.tensor(found[0].ids)[:, None])
    assert (table > own).sum(1).max() > 50


def test_what_a_model_says_about_sampling_is_left_out(loaded):
    model = loaded[1]
    how = {"temperature": 1.0, "seed": 3}
    expected = sampled(loaded, how)
    own = transformers.GenerationConfig(do_sample=True, top_k=1, temperature=0.1, repetition_penalty=9.0)
    before, model.generation_config = model.generation_config, own
    try:
        assert sampled(loaded, how) == expected
        assert model.generation_config is own
    finally:
        model.generation_config = before


def test_beams_are_the_likeliest_and_come_in_order(loaded):
    def score(ids, completion):
        table = log_probabilities(loaded[1], ids, completion.ids)
        return float(table.gather(1, torch.tensor(completion.ids)[:, None]).sum()) / len(completion.ids)

    ids, beams = sampled(loaded, {"num_beams": 6, "num_return_sequences": 4})
    found = [score(ids, beam) for beam in beams]
    assert found == sorted(found, reverse=True)
    assert len({tuple(beam.ids) for beam in beams}) == 4
    how = sampling.Decoding(num_beams=4, num_return_sequences=4)
    single = sampling.sample(loaded[1], ids, how, max_new_tokens=1, eos_ids=loaded[0].eos_ids, pad_id=0)
    likeliest = log_probabilities(loaded[1], ids, [0])[0].topk(4).indices.tolist()
    assert [beam.ids for beam in single] == [[token] for token in likeliest]


def test_a_completion_ends_at_end_of_sequence(loaded):
    _, whole = sampled(loaded, {"temperature": 1.0})
    assert (len(whole[0].ids), whole[0].finish_reason) == (NEW, "length")
    end = whole[0].ids[5]
    _, ended = sampled(loaded, {"temperature": 1.0}, eos_ids=[end])
    assert ended[0].ids == whole[0].ids[: whole[0].ids.index(end)]
    assert ended[0].finish_reason == "stop"


def test_several_completions_say_which_is_which(capsys, tiny_base):
    printed = completed(capsys, tiny_base, "--temperature", "1", "--num_return_sequences", "3")
    heads = [line for line in printed.splitlines() if line.startswith("--- ")]
    assert heads == [f"--- {number} of 3 (length)" for number in (1, 2, 3)]


def test_the_prompt_comes_from_standard_input(capsys, tiny_base, monkeypatch):
    expected = completed(capsys, tiny_base, "--prompt", "def f(\n")
    monkeypatch.setattr("sys.stdin", io.StringIO("def f(\n"))
    complete.main(["--hf_repository", str(tiny_base), "--max_new_tokens", str(NEW)])
    assert capsys.readouterr().out == expected


def test_a_suffix_changes_what_is_filled_in(capsys, tiny_base):
    filled = completed(capsys, tiny_base, "--prompt", "def f(", "--suffix", "):\n    return x\n")
    assert filled != completed(capsys, tiny_base)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--temperature", "0"], "--temperature 0 leaves no token to sample; omit it for greedy decoding"),
        (["--top_p", "0"], "--top_p 0 leaves no token to sample"),
        (
            ["--top_k", "5", "--num_beams", "4"],
            "--top_k turns on sampling and --num_beams beam search; give only one of them",
        ),
        (
            ["--num_return_sequences", "3"],
            "greedy decoding gives one completion, not 3; add --temperature to sample several",
        ),
        (["--num_beams", "2", "--num_return_sequences", "3"], "2 beams give at most as many completions, not 3"),
    ],
)
def test_contradicting_flags_are_one_sentence(flags, message):
    with pytest.raises(UserError, match=message):
        complete.main(["--hf_repository", "x", "--prompt", "x", *flags])


@pytest.mark.parametrize("flags", [["--top_k", "0"], ["--top_p", "1.1"], ["--num_beams", "0"], ["--temperature", "-1"]])
def test_impossible_values_exit_2(flags):
    with pytest.raises(SystemExit) as stop:
        complete.main(["--hf_repository", "x", *flags])
    assert stop.value.code == 2


def test_a_file_without_a_place_is_completed_at_its_end(tmp_path):
    file = tmp_path / "a.py"
    file.write_text("one\ntwo\n")
    source = complete.PromptSource(None, None, file, None, None, infill=False)
    assert complete.read_prompt(source) == ("one\ntwo\n", None)
    assert complete.read_prompt(dataclasses.replace(source, line=2)) == ("one\n", None)
    assert complete.read_prompt(dataclasses.replace(source, line=2, infill=True)) == ("one\n", "two\n")


class Terminal(io.StringIO):
    """A terminal as standard input."""

    def isatty(self):
        return True


def test_on_a_terminal_one_model_completes_prompt_after_prompt(capsys, tiny_base, monkeypatch):
    loads = []
    load = loading.load
    monkeypatch.setattr(loading, "load", lambda *words, **flags: loads.append(words) or load(*words, **flags))
    monkeypatch.setattr(sys, "stdin", Terminal("def f(\n\n\nx = [\ny"))
    complete.main([str(tiny_base), "--max_new_tokens", str(NEW)])
    printed = capsys.readouterr()
    assert len(loads) == 1
    assert "an empty line completes it, Ctrl-D ends" in printed.err
    expected = [completed(capsys, tiny_base, "--prompt", prompt) for prompt in ("def f(", "x = [\ny")]
    assert printed.out == "".join(expected)


def test_a_base_can_be_seen_only_next_to_an_adapter(tiny_base):
    with pytest.raises(UserError, match="is not an adapter, so it has no base to show; leave out --with_base"):
        complete.main([str(tiny_base), "--with_base", "--prompt", "x"])


def test_an_adapter_and_its_base_answer_under_headings(capsys, tiny_base, tmp_path):
    loading_base = transformers.AutoModelForCausalLM.from_pretrained(tiny_base)
    adapted = peft.get_peft_model(loading_base, peft.LoraConfig(target_modules="all-linear", init_lora_weights=False))
    adapted.peft_config["default"].base_model_name_or_path = str(tiny_base)
    adapted.save_pretrained(tmp_path)
    words = ["--prompt", "def f(", "--max_new_tokens", str(NEW)]
    complete.main([str(tmp_path), *words, "--with_base"])
    both = capsys.readouterr().out
    alone = []
    for model in (tiny_base, tmp_path):
        complete.main([str(model), *words])
        alone.append(capsys.readouterr().out)
    assert alone[0] != alone[1]
    assert both == f"=== base\n{alone[0]}=== adapted\n{alone[1]}"


def test_a_model_that_stops_at_once_is_said_to(capsys):
    complete.show([("", "stop")])
    assert capsys.readouterr() == ("\n", "(the model stopped at once)\n")


@pytest.mark.parametrize("columns", [60, 80, 99])
def test_two_completions_fit_the_terminal_side_by_side(columns):
    text = complete.side_by_side("\treturn 1\n" + "x" * 100, "", columns).splitlines()
    assert max(map(len, text)) <= columns
    assert text[0].split() == ["base", "|", "adapted"]
    assert text[2].split("|")[0].rstrip() == "    return 1"
    assert text[2].endswith("| (the model stopped at once)")
    assert sum(line.count("x") for line in text) == 100
