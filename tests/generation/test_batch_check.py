"""The batch check says how many completions would change if they were decoded again, without decoding again."""

import pytest
import torch

from codefit.generation import batch_check, batched, kv_cache
from codefit.generation.nucleus import Nucleus
from codefit.generation.prediction_cache import PredictionCache
from codefit.generation.stopping import StopRule
from tests.support.decoding import EOS, NEW, prompts_of, run

PROMPTS = prompts_of([7, 1, 30, 12, 3, 18, 2, 40])
ENDING = StopRule("even", lambda ids: ids[-1] % 4 == 0)


@pytest.mark.parametrize("stop", [None, ENDING])
@pytest.mark.parametrize("nucleus", [None, Nucleus(temperature=0.9, top_p=0.9, seed=3)])
def test_it_counts_the_completions_that_decoding_again_changes(model, stop, nucleus):
    how = {"eos_ids": EOS, "pad_id": 0, "stop": stop, "nucleus": nucleus}
    before = run(model, PROMPTS, **how)
    assert batch_check.flips(model, PROMPTS, before, **how) == (0, len(PROMPTS))
    torch.manual_seed(0)
    with torch.no_grad():
        for weight in model.parameters():
            weight += 0.05 * weight.std() * torch.randn_like(weight) if weight.dim() > 1 else 0
    after = run(model, PROMPTS, **how)
    changed = sum(one != other for one, other in zip(before, after, strict=True))
    assert changed
    assert batch_check.flips(model, PROMPTS, before, **how) == (changed, len(PROMPTS))


def test_another_end_is_a_change(model):
    how = {"eos_ids": EOS, "pad_id": 0}
    completions = run(model, PROMPTS)
    stopped = next(at for at, found in enumerate(completions) if found.finish_reason == "stop" and len(found.ids) > 1)
    earlier = batched.Completion(completions[stopped].ids[:-1], "stop")
    wrong = [earlier if at == stopped else found for at, found in enumerate(completions)]
    assert batch_check.flips(model, PROMPTS, wrong, **how) == (1, len(PROMPTS))


def test_it_takes_one_forward_pass_per_batch_of_4_and_none_from_the_cache(model, tmp_path, monkeypatch):
    completions = run(model, PROMPTS)
    rows = []
    forward = kv_cache.PaddedPrompts.forward

    def counting(self, *rest, **options):
        rows.append(len(self.ids))
        return forward(self, *rest, **options)

    monkeypatch.setattr(kv_cache.PaddedPrompts, "forward", counting)
    how = {"eos_ids": EOS, "pad_id": 0, "cache": PredictionCache({}, tmp_path)}
    found = batch_check.flips(model, PROMPTS, completions, **how)
    assert sum(rows) == len(PROMPTS)
    assert len(rows) < NEW
    rows.clear()
    assert batch_check.flips(model, PROMPTS, completions, **how) == found
    assert not rows
