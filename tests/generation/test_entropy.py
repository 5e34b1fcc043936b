"""The entropy of the first token after a prompt, with the completions and in the report."""

import math

import pytest
import torch

from codefit.evaluation import comparison
from codefit.generation import batched, reference_nats
from codefit.records import Prediction


def test_the_entropy_of_known_distributions():
    uniform, certain = torch.zeros(8), torch.tensor([40.0] + [0.0] * 7)
    assert reference_nats.entropies(torch.stack([uniform, certain])) == pytest.approx([3.0, 0.0], abs=1e-6)


def test_it_is_that_of_a_plain_forward_pass_whatever_the_batch(tiny_base):
    from codefit.modeling import loading

    model = loading.load_model(str(tiny_base), dtype=torch.float32)
    prompts = [[5, 6, 7], [9], [11, 12, 13, 14, 15, 16]]
    found = batched.generate(model, prompts, max_new_tokens=2, eos_ids=[0], pad_id=0)
    for prompt, completion in zip(prompts, found, strict=True):
        with torch.no_grad():
            p = model(input_ids=torch.tensor([prompt])).logits[0, -1].softmax(-1)
        assert completion.entropy == pytest.approx(float(-(p * p.log2()).sum()), abs=1e-4)
        assert 0 < completion.entropy <= math.log2(len(p))


def test_the_mean_needs_every_item():
    items = [Prediction(f"{n}", "p", "x", "x", scores={"entropy": float(n)}, path=f"{n}.py") for n in range(8)]
    found = comparison.mean_entropy({"base": items, "adapted": items})
    assert found["base"].value == pytest.approx(3.5)
    assert found["base"].low < 3.5 < found["base"].high
    assert comparison.mean_entropy({"base": items, "adapted": [*items[:-1], Prediction("7", "p", "x", "x")]}) == {}
