"""Pairs become ids as inference makes them; labels come from lengths; packing loses nothing."""

import dataclasses

import numpy as np
import pytest

from codefit import encoding, fim
from codefit.encoding import IGNORE, Encoder, Sample
from codefit.errors import UserError
from codefit.records import Pair, write_jsonl
from codefit.training import samples as run_samples
from tests.support.training import settings_of


@pytest.fixture(scope="module")
def encoder(tiny_tokenizer):
    return Encoder(tiny_tokenizer, 24)


def sample_of(encoder, prompt="x = ", completion="1", **options):
    return next(encoder.samples([Pair(id="1", task="completion", prompt=prompt, completion=completion, **options)]))


def test_trained_prompt_ids_are_those_that_are_served(encoder):
    for prompt, suffix in [("def f(a, ", None), ("x" * 500, None), ("def f(", "):\n    pass"), ("a" * 400, "b" * 400)]:
        sample = sample_of(encoder, prompt, "value", suffix=suffix)
        assert sample.ids[: sample.start].tolist() == encoder.prompt_ids(prompt, suffix)


def test_prompt_and_completion_are_tokenised_separately(encoder):
    """In mid-word the joint tokens differ; training must see what inference sees."""
    sample = sample_of(encoder, "    ret", "urn None")
    assert sample.ids.tolist() == [*encoder.ids(["    ret"])[0], *encoder.ids(["urn None"])[0], *encoder.eos_ids]
    assert sample.ids.tolist()[:-1] != encoder.ids(["    return None"])[0]


@pytest.mark.parametrize(("reason", "ends"), [("stop", True), ("length", False)])
def test_end_of_sequence_is_trained_only_at_a_natural_end(encoder, reason, ends):
    sample = sample_of(encoder, finish_reason=reason)
    assert (sample.ids[-1] == encoder.eos_ids[0]) is np.bool_(ends)


def test_end_of_sequence_is_trained_when_it_is_also_the_pad_token(tiny_tokenizer):
    """A collator that masks the pad id would hide every end from a model whose pad is its end-of-sequence."""
    tokenizer = type(tiny_tokenizer)(tokenizer_object=tiny_tokenizer.backend_tokenizer, eos_token="<|endoftext|>")
    tokenizer.pad_token = tokenizer.eos_token
    encoder = Encoder(tokenizer, 24)
    assert encoder.pad_id == encoder.eos_ids[0]
    row = encoding.lay_out([sample_of(encoder)], 32, encoder.pad_id)
    assert (row["labels"] == encoder.eos_ids[0]).sum() == 1


def test_a_long_prompt_loses_its_beginning_and_a_completion_nothing(encoder):
    prompt, completion = "start " + "word " * 100, "tail " * 30
    sample = sample_of(encoder, prompt, completion)
    assert sample.start == 24
    assert sample.cut == len(encoder.ids([prompt])[0]) - 24
    assert sample.ids[24:-1].tolist() == encoder.ids([completion])[0]
    assert prompt.endswith(encoder.decode(sample.ids[:24].tolist()))


def test_special_tokens_written_in_code_stay_text(encoder):
    ids = encoder.prompt_ids("<|endoftext|>")
    assert encoder.eos_ids[0] not in ids
    assert encoder.decode(ids) == "<|endoftext|>"


def test_an_empty_prompt_starts_at_a_document_boundary(encoder):
    assert encoder.prompt_ids("") == encoder.eos_ids


def test_infill_keeps_every_sentinel_and_the_text_at_the_cursor(encoder):
    ids = encoder.prompt_ids("first " * 60 + "near", "here" + " last" * 60)
    assert len(ids) == 24
    assert [i for i in ids if i in encoder.special.values()] == [encoder.special[s] for s in fim.BASE.sentinels]
    text = encoder.decode(ids)
    assert "nearhere" in text
    assert "first" in text


def gaps(count):
    return [Pair(f"gap {n}", "infill", f"before{n} ", f"gap{n}", suffix=f" behind{n}") for n in range(count)]


def test_half_of_what_is_trained_has_its_suffix_first(encoder):
    before, behind, ask = (encoder.special[token] for token in fim.BASE.sentinels)
    pairs = gaps(200)
    trained, ledger = encoding.encode(pairs, encoder, 100, both_orders=True)
    swapped = 0
    for pair, sample in zip(pairs, trained, strict=True):
        prefix, middle, suffix = encoder.ids([pair.prompt, pair.completion, pair.suffix])
        served = [before, *prefix, behind, *suffix, ask]
        other = [before, behind, *suffix, ask, *prefix]
        prompt = sample.ids[: sample.start].tolist()
        assert prompt in (served, other)
        assert sample.ids[sample.start :].tolist() == [*middle, *encoder.eos_ids]
        swapped += prompt == other
    assert 80 < swapped < 120
    assert ledger["trained"] == 200
    again, _ = encoding.encode(reversed(pairs), encoder, 100, both_orders=True)
    assert [sample.ids.tolist() for sample in reversed(again)] == [sample.ids.tolist() for sample in trained]
    asked = [sample.ids[: sample.start].tolist() for sample in encoder.samples(pairs)]
    assert asked == [encoder.prompt_ids(pair.prompt, pair.suffix) for pair in pairs]


def test_a_family_of_one_order_is_trained_in_it(tiny_tokenizer):
    encoder = Encoder(tiny_tokenizer, 24)
    encoder.fim = dataclasses.replace(fim.BASE, both=False)
    trained, served = (
        [sample.ids.tolist() for sample in encoder.samples(gaps(20), both_orders=both)] for both in (True, False)
    )
    assert trained == served


def test_training_has_both_orders_and_validation_the_one_that_is_asked(encoder, tmp_path):
    for split in ("train", "validation"):
        write_jsonl(tmp_path / f"{split}.jsonl", gaps(40))
    found = run_samples.read(settings_of("--validation_samples", 40), 100, tmp_path, None, encoder)
    behind = encoder.special[fim.BASE.suffix]
    first = {
        name: sum(sample.ids[1] == behind for sample in samples)
        for name, samples in vars(found).items()
        if name in ("train", "validation")
    }
    assert 10 < first["train"] < 30
    assert first["validation"] == 0


@pytest.mark.parametrize(("processes", "tokens"), [("1", 3 * 2 * 4 * 100), ("8", 8 * 3 * 2 * 4 * 100)])
def test_steps_need_the_tokens_of_all_processes(monkeypatch, processes, tokens):
    monkeypatch.setenv("WORLD_SIZE", processes)
    words = ["--max_steps", 3, "--per_device_train_batch_size", 2, "--gradient_accumulation_steps", 4]
    assert run_samples.tokens_needed(settings_of(*words).schedule, 100) == tokens


def test_infill_without_sentinels_names_the_way_out(tiny_tokenizer):
    encoder = Encoder(tiny_tokenizer, 24)
    encoder.fim = None
    with pytest.raises(UserError, match="no fill-in-the-middle sentinels; omit the suffix"):
        encoder.prompt_ids("a", "b")


def test_a_tokenizer_without_an_end_is_refused(tiny_tokenizer):
    tokenizer = type(tiny_tokenizer)(tokenizer_object=tiny_tokenizer.backend_tokenizer)
    with pytest.raises(UserError, match="no end-of-sequence token; set eos_token"):
        Encoder(tokenizer, 24)


def test_a_tokenizer_that_starts_with_bos_keeps_it_when_the_prompt_is_cut(tiny_tokenizer):
    from tokenizers import Tokenizer, processors

    backend = Tokenizer.from_str(tiny_tokenizer.backend_tokenizer.to_str())
    backend.post_processor = processors.TemplateProcessing("<|pad|> $A", "<|pad|> $A $B", [("<|pad|>", 1)])
    tokenizer = type(tiny_tokenizer)(tokenizer_object=backend, eos_token="<|endoftext|>", bos_token="<|pad|>")
    ids = Encoder(tokenizer, 8).prompt_ids("word " * 50)
    assert len(ids) == 8
    assert ids[0] == tokenizer.bos_token_id
    assert tokenizer.bos_token_id not in ids[1:]


def test_the_counts_account_for_every_pair(encoder):
    pair = Pair(id="1", task="completion", prompt="a " * 40, completion="b")
    rows = [pair] * 3 + [Pair(id="2", task="completion", prompt="a", completion="")]
    rows += [Pair(id="3", task="completion", prompt="a", completion="word " * 200)]
    samples, ledger = encoding.encode(rows, encoder, max_length=64)
    assert ledger == {"read": 5, "trained": 3, "cut": 3, "too long": 1, "empty completion": 1, "not needed": 0}
    assert len(samples) == 3


def test_encoding_stops_when_there_are_enough_tokens(encoder):
    rows = [Pair(id="1", task="completion", prompt="a", completion="b")] * 1500
    samples, ledger = encoding.encode(rows, encoder, 64, enough_tokens=10)
    assert ledger["read"] == 1500
    assert ledger["trained"] + ledger["not needed"] == 1500
    assert len(samples) == 512


def test_packing_uses_every_sample_once_and_fills_rows():
    lengths = np.random.default_rng(0).integers(1, 100, 500).tolist()
    rows = encoding.pack(lengths, 128)
    assert sorted(index for row in rows for index in row) == list(range(500))
    assert max(sum(lengths[i] for i in row) for row in rows) <= 128
    assert sum(lengths) / (len(rows) * 128) > 0.95
    assert rows == encoding.pack(lengths, 128)


def test_packing_refuses_a_sample_that_cannot_fit():
    with pytest.raises(ValueError, match="a sample of 9 tokens does not fit into a row of 8"):
        encoding.pack([3, 9], 8)


@pytest.mark.parametrize(
    ("lengths", "hidden_size", "width"),
    [
        ([10] * 8, 32, 10),  # of one length: no row is wider than a sample
        ([10, 10, 9, 1], 32, 10),
        ([100, 60, 60, 60], 4096, 300),  # a wide model: less padding is worth more than less attention
        ([], 32, 1),
    ],
)
def test_rows_have_the_width_that_costs_least(lengths, hidden_size, width):
    found, rows = encoding.arrange(lengths, 320, hidden_size)
    assert found == width
    assert sorted(index for row in rows for index in row) == list(range(len(lengths)))
    assert all(sum(lengths[index] for index in row) <= width for row in rows)


def test_lay_out_shifts_labels_and_restarts_positions():
    samples = [Sample(np.array([5, 6, 7, 8], np.int32), 2), Sample(np.array([9, 10], np.int32), 0)]
    row = encoding.lay_out(samples, 8, pad_id=1)
    assert row["input_ids"].tolist() == [5, 6, 7, 8, 9, 10, 1, 1]
    assert row["labels"].tolist() == [IGNORE, 7, 8, IGNORE, 10, IGNORE, IGNORE, IGNORE]
    assert row["position_ids"].tolist() == [0, 1, 2, 3, 0, 1, 0, 1]


def test_preview_shows_tokens_the_border_and_the_cut(encoder):
    text = encoding.preview(sample_of(encoder, "word " * 40, "done"), encoder, colour=False)
    assert "tokens cut on the left" in text
    assert "-- trained from here --" in text
    assert text.rstrip().endswith("[<|endoftext|>]")
    assert "\033[32m" in encoding.preview(sample_of(encoder), encoder, colour=True)


def test_preview_has_a_header_and_real_line_breaks(encoder):
    sample = dataclasses.replace(sample_of(encoder, "def f():\n    ", "return 1\n\x1b[2J"), source="src/a\x1b.py")
    header, *text = encoding.preview(sample, encoder, colour=False).splitlines()
    trained = len(sample.ids) - sample.start
    assert header == (f"=== src/a\\x1b.py: {len(sample.ids)} tokens, {trained} trained, ends with end-of-sequence")
    assert text == ["def f():", "    ", "  -- trained from here --", "return 1", "\\x1b[2J[<|endoftext|>]"]


def test_preview_says_that_a_completion_was_cut(encoder):
    sample = sample_of(encoder, "a", "b")
    cut = dataclasses.replace(sample, ids=sample.ids[:-1])
    assert "has no end-of-sequence: its limit cut the completion" in encoding.preview(cut, encoder, colour=False)


def test_preview_in_colour_shows_read_text_in_grey(encoder):
    text = encoding.preview(sample_of(encoder, "read", "trained"), encoder, colour=True)
    assert "\033[90mread\033[0m\033[32mtrained" in text
    assert "-- trained from here --" not in text


@pytest.mark.parametrize("row", fim.FORMATS, ids=lambda row: row.name)
def test_every_fim_format_is_found_by_its_sentinels_and_serves_in_its_order(row):
    assert fim.detect({*row.sentinels, "a"}) == row
    parts = row.parts("P", "S")
    texts = [value for kind, value in parts if kind == "text"]
    assert texts == (["P", "S"] if row.order == "PSM" else ["S", "P"])
    assert sorted(value for kind, value in parts if kind == "token") == sorted(row.sentinels)
    if row.both:
        other = row.parts("P", "S", suffix_first=True)
        assert sorted(other) == sorted(parts)
        assert [value for kind, value in other if kind == "text"] == ["S", "P"]
        assert other[-1] == ("text", "P")


@pytest.mark.parametrize("vocabulary", [set(), {"<fim_prefix>", "<fim_suffix>"}])
def test_models_without_all_sentinels_have_no_fim(vocabulary):
    assert fim.detect(vocabulary) is None
