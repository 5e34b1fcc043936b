"""Sampled completions: tokens come with the probabilities that top-p gives them, and do not depend on the batch."""

from collections import Counter

import pytest
import torch
import transformers
from transformers.generation.logits_process import TemperatureLogitsWarper, TopPLogitsWarper

import benchmarking
from codefit.generation.nucleus import Nucleus
from tests.support.decoding import CONFIGS, prompts_of, run

GRID = 2000


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.8, 0.95), (1.5, 0.5), (0.3, 0.9), (1.0, 0.01)])
def test_tokens_are_sampled_with_the_probabilities_of_transformers(temperature, top_p):
    torch.manual_seed(3)
    logits = torch.randn(3, 23) * 2
    for row in logits:
        left = TopPLogitsWarper(top_p)(None, TemperatureLogitsWarper(temperature)(None, row[None]))
        expected = left.softmax(-1)[0]
        numbers = [(place + 0.5) / GRID for place in range(GRID)]
        found = Counter(Nucleus(temperature, top_p).draw(row.expand(GRID, -1), numbers).tolist())
        assert set(found) <= set(expected.nonzero()[:, 0].tolist())
        for token, share in enumerate(expected.tolist()):
            assert found[token] / GRID == pytest.approx(share, abs=1.5 / GRID)


@pytest.mark.parametrize("number", [0.0, 0.5, 1 - 2**-53])
def test_extreme_random_numbers_give_valid_tokens(number):
    logits = torch.tensor([[0.0, 30.0, 0.0], [1.0, 1.0, 1.0]])
    assert set(Nucleus(1.0, 1.0).draw(logits, [number, number]).tolist()) <= {0, 1, 2}
    assert Nucleus(1.0, 0.9).draw(logits, [number, number])[0] == 1


def test_a_sample_depends_on_seed_and_prompt_and_not_on_the_batch():
    torch.manual_seed(1)
    model = transformers.AutoModelForCausalLM.from_config(CONFIGS["llama"]).eval()
    prompts = prompts_of([7, 1, 30, 12, 12, 3, 25, 18])
    hot = Nucleus(1.5, 1.0, seed=1)
    together = run(model, prompts, nucleus=hot)
    assert run(model, prompts, nucleus=hot, tokens_per_batch=1) == together
    assert run(model, prompts[::-1], nucleus=hot)[::-1] == together
    assert run(model, prompts, nucleus=Nucleus(1.5, 1.0, seed=2)) != together
    assert run(model, prompts, nucleus=Nucleus(1e-4, 1.0)) == run(model, prompts)  # a low temperature is greedy
    assert together != run(model, prompts)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--generation_seed", "1"], "add --temperature or --top_p"),
        (["--backend", "vllm", "--top_p", "0.9"], "--backend vllm decodes greedily; leave out --temperature"),
        (["--temperature", "0"], "--temperature"),
    ],
)
def test_contradictory_sampling_flags_are_refused(capsys, flags, words):
    with pytest.raises(SystemExit) as error:
        benchmarking.main(["--hf_repository", "x", *flags])
    assert error.value.code == 2
    assert words in capsys.readouterr().err
