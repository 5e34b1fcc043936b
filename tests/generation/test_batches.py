"""The completions are the same with chunked prefill, with a shared prefix and from the prediction cache."""

import pytest
import torch
import transformers

from codefit.generation import batched, kv_cache, likelihood, stopping
from codefit.generation.prediction_cache import PredictionCache
from tests.support.decoding import EOS, PAIRS, Letters, direct_nats, prompts_of, reference, run


def sharing_prompts(prefix, lengths):
    """Return prompts with a common prefix and different ends."""
    head, *ends = prompts_of([prefix, *lengths])
    return [head + end for end in ends]


def forward_shapes(monkeypatch):
    """Return a list that collects (rows, tokens) of every forward pass."""
    seen = []
    forward = kv_cache.PaddedPrompts.forward

    def counting(self, *rest):
        seen.append(tuple(self.ids.shape))
        return forward(self, *rest)

    monkeypatch.setattr(kv_cache.PaddedPrompts, "forward", counting)
    return seen


@pytest.mark.parametrize("tokens", [1, 50, 90, 10_000])
def test_chunked_prefill_gives_the_same_completions(model, tokens, monkeypatch):
    prompts = prompts_of([7, 30, 12, 12, 25, 2, 30])
    expected = [reference(model, prompt, EOS) for prompt in prompts]
    monkeypatch.setattr(kv_cache, "TOKENS_AT_ONCE_ON_CPU", tokens)
    seen = forward_shapes(monkeypatch)
    assert run(model, prompts) == expected
    if kv_cache.is_plain(model):
        assert max(rows for rows, length in seen if length > 1) == max(1, min(7, tokens // 30))


@pytest.mark.parametrize("tokens", [20, 10_000])
def test_a_shared_prefix_is_prefilled_once(model, tokens, monkeypatch):
    prompts = sharing_prompts(70, [9, 1, 4, 20]) + prompts_of([11, 33])
    expected = [reference(model, prompt, EOS) for prompt in prompts]
    monkeypatch.setattr(kv_cache, "TOKENS_AT_ONCE_ON_CPU", tokens)
    monkeypatch.setattr(batched, "TOKENS_PER_STEP", 1)
    seen = forward_shapes(monkeypatch)
    assert run(model, prompts) == expected
    prefilled = sum(rows * length for rows, length in seen if length > 1)
    if kv_cache.is_plain(model):
        assert (1, 70) in seen
        assert prefilled < sum(map(len, prompts))
    else:
        assert prefilled >= sum(map(len, prompts))


@pytest.mark.parametrize(
    ("prompts", "worth", "expected"),
    [
        ([[1] * 80 + [end] for end in range(5)], 320, [(80, [0, 1, 2, 3, 4])]),
        ([[1] * 80 + [end] for end in range(5)], 321, [(0, [0, 1, 2, 3, 4])]),
        ([[1] * 80, [1] * 80, [2] * 80, [1] * 80], 100, [(79, [0, 1, 3]), (0, [2])]),
        ([[1] * 40 + [end] for end in range(5)], 10, [(0, [0, 1, 2, 3, 4])]),
        ([[1] * 80, [1] * 70 + [2], [1] * 70], 100, [(69, [0, 1, 2])]),
        ([], 10, []),
    ],
    ids=["worth it", "not worth it", "a group and a rest", "short", "one is a prefix of another", "none"],
)
def test_prompts_share_a_prefix_only_where_it_pays(monkeypatch, prompts, worth, expected):
    monkeypatch.setattr(batched, "TOKENS_PER_STEP", worth)
    found = batched.plan(prompts, 1, 10_000)  # every group fits into one batch
    assert sorted((shared, sorted(batch)) for shared, batch in found) == sorted(expected)


def test_every_prompt_is_in_one_batch_of_the_plan():
    prompts = [[1] * 80 + [end] * end for end in range(1, 9)] + prompts_of([5, 90, 30])
    found = batched.plan(prompts, 1, 300)
    assert sorted(index for _, batch in found for index in batch) == list(range(11))
    assert [shared for shared, _ in found] == [0, 80, 80, 80]
    assert all(prompts[batch[0]][:shared] == prompts[index][:shared] for shared, batch in found for index in batch)


# ------------------------------------------------------------------------------------------- the prediction cache


def test_cached_batches_are_not_generated_again(model, tmp_path, monkeypatch):
    prompts = prompts_of([7, 30, 12, 25])
    first = run(model, prompts, tokens_per_batch=100, cache=PredictionCache({}, tmp_path))
    nats = likelihood.completion_nats(model, Letters(), PAIRS, 40, PredictionCache({}, tmp_path))
    seen = forward_shapes(monkeypatch)
    store = PredictionCache({}, tmp_path)
    assert run(model, prompts, tokens_per_batch=100, cache=store) == first == run(model, prompts)
    assert store.hits == store.requests == 3
    calls = len(seen)
    assert likelihood.completion_nats(model, Letters(), PAIRS, 40, store) == nats
    assert len(seen) == calls


@pytest.mark.parametrize(
    "change",
    [
        {"max_new_tokens": 5},
        {"eos_ids": [3]},
        {"tokens_per_batch": 60},
        {"stop": stopping.StopRule("x", lambda _: True)},
    ],
)
def test_other_settings_miss_the_cache(model, tmp_path, change):
    prompts = prompts_of([7, 30, 12, 25])
    run(model, prompts, cache=PredictionCache({}, tmp_path))
    store = PredictionCache({}, tmp_path)
    assert run(model, prompts, cache=store, **change) == run(model, prompts, **change)
    assert store.hits == 0


def test_an_interrupted_run_continues_with_the_first_missing_batch(model, tmp_path):
    prompts = prompts_of([30] * 6)
    whole = run(model, prompts, tokens_per_batch=110)

    class Stopped(PredictionCache):
        def put(self, question, answer):
            super().put(question, answer)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(model, prompts, tokens_per_batch=110, cache=Stopped({}, tmp_path))
    store = PredictionCache({}, tmp_path)
    assert run(model, prompts, tokens_per_batch=110, cache=store) == whole
    assert (store.hits, store.requests) == (1, 3)


# ------------------------------------------------------------------------------------------- stop conditions


def test_a_stop_condition_keeps_the_token_that_meets_it(model):
    prompts = prompts_of([5, 9, 21])
    free = run(model, prompts, eos_ids=[])
    wanted = {row.ids[at] for row, at in zip(free, (3, 6, 2), strict=True)}
    stop = stopping.StopRule("wanted", lambda ids: ids[-1] in wanted)
    for row, whole in zip(run(model, prompts, eos_ids=[], stop=stop), free, strict=True):
        end = next(at for at, token in enumerate(whole.ids) if token in wanted) + 1
        assert row == batched.Completion(whole.ids[:end], "stop")


@torch.no_grad()
def test_nats_do_not_depend_on_the_batches(model, monkeypatch):
    monkeypatch.setattr(kv_cache, "TOKENS_AT_ONCE_ON_CPU", 30)
    found = likelihood.completion_nats(model, Letters(), PAIRS)
    assert [nats for nats, _ in found] == pytest.approx([direct_nats(model, pair) for pair in PAIRS], rel=1e-4)


@pytest.mark.parametrize(
    ("shape", "tokens"),
    [
        ({"hidden_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4}, 32768),  # 8 KB a token
        ({"hidden_size": 2048, "num_hidden_layers": 24, "num_attention_heads": 32}, 10172),  # 393,216 bytes: phi-1.5's
        ({"hidden_size": 2048, "num_hidden_layers": 24, "num_attention_heads": 32, "num_key_value_heads": 8}, 32768),
        ({"hidden_size": 8192, "num_hidden_layers": 200, "num_attention_heads": 64, "head_dim": 4096}, 9),
    ],
)
def test_a_batch_fits_into_a_kv_cache_of_4_gb(shape, tokens):
    with torch.device("meta"):
        outline = transformers.LlamaForCausalLM(transformers.LlamaConfig(vocab_size=8, intermediate_size=8, **shape))
    assert batched.tokens_that_fit(outline) == tokens


def test_architectures_with_other_names_for_their_sizes_work_too():
    with torch.device("meta"):
        outline = transformers.CodeGenForCausalLM(transformers.CodeGenConfig(n_layer=20, n_embd=1024, n_head=16))
    assert batched.tokens_that_fit(outline) == 4e9 // (2 * 20 * 1024 * 4)
