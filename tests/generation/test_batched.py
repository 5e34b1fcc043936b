"""Generation equals transformers' own greedy search row by row; the likelihood does not depend on the padding."""

import pytest
import torch
import transformers

from codefit.generation import batched, kv_cache, likelihood
from codefit.records import Pair

VOCABULARY = 61
SHAPE = {"vocab_size": VOCABULARY, "bos_token_id": None, "eos_token_id": None, "pad_token_id": 0}
SIZE = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
CONFIGS = {
    "llama": transformers.LlamaConfig(**SHAPE, **SIZE, num_key_value_heads=2, initializer_range=0.4),
    "qwen2": transformers.Qwen2Config(**SHAPE, **SIZE, num_key_value_heads=2, initializer_range=0.4),
    "phi": transformers.PhiConfig(**SHAPE, **SIZE, initializer_range=0.4),
    "codegen": transformers.CodeGenConfig(
        **SHAPE, n_embd=32, n_layer=2, n_head=4, rotary_dim=8, n_positions=128, initializer_range=0.4
    ),
    "starcoder2": transformers.Starcoder2Config(
        **SHAPE, **SIZE, num_key_value_heads=2, sliding_window=12, initializer_range=0.4
    ),
}
EOS = [3, 5, 8, 13, 21, 34, 55]  # several, so that a random model stops soon, and rows stop at different times
NEW = 24


@pytest.fixture(params=CONFIGS)
def model(request):
    torch.manual_seed(1)
    return transformers.AutoModelForCausalLM.from_config(CONFIGS[request.param]).eval()


def prompts_of(lengths):
    draw = torch.Generator().manual_seed(2)
    return [torch.randint(1, VOCABULARY, (length,), generator=draw).tolist() for length in lengths]


def reference(model, prompt, eos_ids):
    """Return what transformers' greedy search writes for one prompt alone."""
    ids = torch.tensor([prompt])
    written = model.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=NEW, do_sample=False, eos_token_id=eos_ids or None
    )[0, len(prompt) :].tolist()
    if written[-1] in eos_ids:
        return batched.Completion(written[:-1], "stop")
    return batched.Completion(written, "length")


def run(model, prompts, eos_ids=EOS, **options):
    return batched.generate(model, prompts, **{"max_new_tokens": NEW, "eos_ids": eos_ids, "pad_id": 0} | options)


@pytest.mark.parametrize("tokens_per_batch", [1, 120, 10_000])
def test_equals_greedy_search_of_transformers_row_by_row(model, tokens_per_batch):
    prompts = prompts_of([7, 1, 30, 12, 12, 3, 25, 18, 2, 40])
    expected = [reference(model, prompt, EOS) for prompt in prompts]
    assert run(model, prompts, tokens_per_batch=tokens_per_batch) == expected
    assert len({len(row.ids) for row in expected}) > 2  # rows left their batch at different times


def test_without_end_of_sequence_every_row_runs_to_the_limit(model):
    prompts = prompts_of([5, 9, 2])
    completions = run(model, prompts, eos_ids=[])
    assert completions == [reference(model, prompt, []) for prompt in prompts]
    assert {(row.finish_reason, len(row.ids)) for row in completions} == {("length", NEW)}


def test_pad_id_has_no_influence(model):
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


def test_progress_bar_counts_prompts(model, capsys):
    run(model, prompts_of([3, 4]), do_progress=True)
    assert "2/2" in capsys.readouterr().err


def test_rows_leave_the_batch(model, monkeypatch):
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


class Letters:
    """An encoder whose tokens are the code points of the text."""

    pad_id = 0

    def ids(self, texts):
        return [[ord(letter) - 64 for letter in text] for text in texts]

    def prompt_ids(self, prompt, suffix=None):
        return self.ids([(suffix or "") + prompt])[0]

    def pair_ids(self, pair):
        return self.prompt_ids(pair.prompt, pair.suffix)


TEXTS = [("ABCDE", "FGHIJKL"), ("Z", "A"), ("HELLO" * 5, ""), ("QWERTZ", "QWERTZ" * 3), ("B", "CDEFGHIJKLMNOP")]
PAIRS = [Pair(str(number), "completion", prompt, completion) for number, (prompt, completion) in enumerate(TEXTS)]


def direct_nats(model, pair):
    """Return the nats from the full logits of one unpadded row: the definition."""
    prompt, completion = Letters().prompt_ids(pair.prompt, pair.suffix), Letters().ids([pair.completion])[0]
    logits = model(torch.tensor([prompt + completion])).logits[0].double()
    chosen = torch.log_softmax(logits, -1)[range(len(prompt) - 1, len(prompt) + len(completion) - 1), completion]
    return -float(chosen.sum())


@pytest.mark.parametrize("tokens_per_batch", [1, 40, 10_000])
@torch.no_grad()
def test_nats_equal_the_definition_whatever_the_padding(model, tokens_per_batch):
    found = likelihood.completion_nats(model, Letters(), PAIRS, tokens_per_batch)
    assert [tokens for _, tokens in found] == [7, 1, 0, 18, 14]
    assert [nats for nats, _ in found] == pytest.approx([direct_nats(model, pair) for pair in PAIRS], rel=1e-4)
    assert found[2] == (0.0, 0)
    assert min(nats for nats, tokens in found if tokens) > 0.01


@torch.no_grad()
def test_the_suffix_is_part_of_the_question(model):
    asked = [Pair("1", "infill", "ABC", "DEF", suffix="XYZ"), Pair("1", "infill", "ABC", "DEF")]
    found = likelihood.completion_nats(model, Letters(), asked)
    assert found[0][0] == pytest.approx(direct_nats(model, asked[0]), rel=1e-4)
    assert found[0][0] != pytest.approx(found[1][0], rel=1e-3)


def test_completions_without_tokens_cost_nothing(model):
    assert likelihood.completion_nats(model, Letters(), [Pair("1", "completion", "ABC", "")]) == [(0.0, 0)]
