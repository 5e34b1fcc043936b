"""Generation equals Transformers' greedy search row by row; the likelihood does not depend on the padding."""

import dataclasses

import pytest
import torch
import transformers

from codefit.errors import UserError
from codefit.generation import batched, kv_cache, likelihood, reference_nats
from codefit.records import Pair
from tests.support.decoding import EOS, NEW, PAIRS, SHAPE, Letters, direct_nats, prompts_of, reference, run


@pytest.mark.parametrize("tokens_per_batch", [1, 120, 10_000])
def test_equals_transformers_greedy_search_row_by_row(model, tokens_per_batch):
    prompts = prompts_of([7, 1, 30, 12, 12, 3, 25, 18, 2, 40])
    expected = [reference(model, prompt, EOS) for prompt in prompts]
    assert run(model, prompts, tokens_per_batch=tokens_per_batch) == expected
    assert len({len(row.ids) for row in expected}) > 2  # rows finished at different times


def test_without_end_of_sequence_every_row_runs_to_the_limit(model):
    prompts = prompts_of([5, 9, 2])
    completions = run(model, prompts, eos_ids=[])
    assert completions == [reference(model, prompt, []) for prompt in prompts]
    assert {(row.finish_reason, len(row.ids)) for row in completions} == {("length", NEW)}


def test_the_pad_id_does_not_change_the_result(model):
    prompts = prompts_of([4, 11, 27])
    assert run(model, prompts, pad_id=0) == run(model, prompts, pad_id=17)


def test_end_of_sequence_as_first_token_gives_an_empty_completion(model):
    prompt = prompts_of([6])[0]
    first = run(model, [prompt], eos_ids=[])[0].ids[0]
    assert run(model, [prompt], eos_ids=[first]) == [batched.Completion([], "stop")]


def test_no_prompts_give_no_completions(model):
    assert run(model, []) == []


def test_a_prompt_without_tokens_is_refused(model):
    with pytest.raises(ValueError, match="without tokens"):
        run(model, [[1], []])


@pytest.mark.parametrize("ends", [EOS, []])
def test_the_progress_bar_counts_tokens_read_and_written_and_ends_at_all_of_them(ends, model, capsys):
    prompts = prompts_of([7, 1, 30, 12, 12, 3])
    run(model, prompts, eos_ids=ends, do_progress=True, tokens_per_batch=120)
    total = sum(map(len, prompts)) + len(prompts) * NEW
    assert f"{total}/{total} " in capsys.readouterr().err
    run(model, prompts, eos_ids=ends)
    assert capsys.readouterr().err == ""


def test_finished_rows_leave_the_batch(model, monkeypatch):
    rows = []
    forward = kv_cache.PaddedPrompts.forward

    def counting(self, *rest):
        rows.append(len(self.ids))
        return forward(self, *rest)

    monkeypatch.setattr(kv_cache.PaddedPrompts, "forward", counting)
    run(model, prompts_of([5] * 16))
    assert rows[0] == 16
    assert rows == sorted(rows, reverse=True)
    assert rows[-1] <= 12


@pytest.mark.parametrize(
    ("lengths", "limit", "expected"),
    [
        ([], 10, []),
        ([3, 9, 5], 9, [[1], [2], [0]]),
        ([3, 9, 5], 18, [[1, 2], [0]]),
        ([3, 9, 5], 27, [[1, 2, 0]]),
        ([4, 4, 4, 4], 8, [[0, 1], [2, 3]]),
        ([50], 10, [[0]]),
    ],
)
def test_batches_are_sorted_and_within_the_limit(lengths, limit, expected):
    assert batched.batches(lengths, limit) == expected


# ------------------------------------------------------------------------------------------- likelihood


@pytest.mark.parametrize("tokens_per_batch", [1, 40, 10_000])
@torch.no_grad()
def test_nats_equal_the_definition_with_any_padding(model, tokens_per_batch):
    found = likelihood.completion_nats(model, Letters(), PAIRS, tokens_per_batch)
    assert [tokens for _, tokens in found] == [7, 1, 0, 18, 14]
    assert [nats for nats, _ in found] == pytest.approx([direct_nats(model, pair) for pair in PAIRS], rel=1e-4)
    assert found[2] == (0.0, 0)
    assert min(nats for nats, tokens in found if tokens) > 0.01


@torch.no_grad()
def test_the_likelihood_depends_on_the_suffix(model):
    pairs = [Pair("1", "infill", "ABC", "DEF", suffix="XYZ"), Pair("1", "infill", "ABC", "DEF")]
    found = likelihood.completion_nats(model, Letters(), pairs)
    assert found[0][0] == pytest.approx(direct_nats(model, pairs[0]), rel=1e-4)
    assert found[0][0] != pytest.approx(found[1][0], rel=1e-3)


def test_empty_completions_have_zero_nats(model):
    assert likelihood.completion_nats(model, Letters(), [Pair("1", "completion", "ABC", "")]) == [(0.0, 0)]


# ------------------------------------------------------------------------------------------- one prefill for both


@pytest.mark.parametrize("tokens", [20, 2048])
@torch.no_grad()
def test_generation_gives_the_nats_of_the_references_too(model, tokens, monkeypatch):
    monkeypatch.setattr(reference_nats, "TOKENS_AT_ONCE", tokens)
    encoder = Letters()
    prompts = [encoder.pair_ids(pair) for pair in PAIRS]
    references = encoder.ids([pair.completion for pair in PAIRS])
    found = run(model, prompts, references=references)
    assert [(row.ids, row.finish_reason) for row in found] == [
        (row.ids, row.finish_reason) for row in run(model, prompts)
    ]
    if kv_cache.is_plain(model):
        assert [row.nats for row in found] == pytest.approx([direct_nats(model, pair) for pair in PAIRS], rel=1e-4)
    else:
        assert [row.nats for row in found] == [None] * len(PAIRS)


@torch.no_grad()
def test_a_reference_longer_than_a_completion_may_be_shares_the_prefill_too(model):
    pairs = [dataclasses.replace(PAIRS[0], completion="ABCD" * NEW), *PAIRS[1:]]
    encoder = Letters()
    prompts, references = [encoder.pair_ids(pair) for pair in pairs], encoder.ids([pair.completion for pair in pairs])
    found = run(model, prompts, references=references)
    assert [row.ids for row in found] == [row.ids for row in run(model, prompts)]
    if kv_cache.is_plain(model):
        assert [row.nats for row in found] == pytest.approx([direct_nats(model, pair) for pair in pairs], rel=1e-4)


def test_a_long_reference_makes_only_its_own_batch_smaller(model, monkeypatch):
    if not kv_cache.is_plain(model):
        pytest.skip("references are scored by themselves")
    made, new_cache = [], kv_cache.new_cache

    def noting(model, rows, length):
        made.append((rows, length))
        return new_cache(model, rows, length)

    monkeypatch.setattr(batched, "new_cache", noting)
    prompts = prompts_of([6] * 40)
    run(model, prompts, references=[[1] * 60, *[[1] * NEW] * 39], tokens_per_batch=20 * (6 + NEW))
    assert sorted(made) == [(1, 66), (19, 30), (20, 30)]


@torch.no_grad()
def test_padding_of_references_has_no_positions_past_the_context_window():
    config = transformers.GPT2Config(**SHAPE, n_embd=32, n_layer=2, n_head=4, n_positions=64)
    model = transformers.GPT2LMHeadModel(config).eval()
    pairs = [Pair("1", "completion", "A" * 40, "BCD"), Pair("2", "completion", "E" * 5, "F" * 55)]
    encoder = Letters()
    prompts, references = [encoder.pair_ids(pair) for pair in pairs], encoder.ids([pair.completion for pair in pairs])
    found = run(model, prompts, references=references)
    assert [row.nats for row in found] == pytest.approx([direct_nats(model, pair) for pair in pairs], rel=1e-4)


@torch.no_grad()
def test_a_reference_past_the_learned_positions_is_one_sentence():
    config = transformers.GPT2Config(**SHAPE, n_embd=32, n_layer=2, n_head=4, n_positions=32)
    model = transformers.GPT2LMHeadModel(config).eval()
    encoder, pair = Letters(), Pair("1", "completion", "AB", "C" * 60)
    with pytest.raises(UserError, match=r"a prompt with its reference has 6\d tokens, more than the positions that"):
        likelihood.completion_nats(model, encoder, [pair])
