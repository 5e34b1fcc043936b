"""Curricula: measures of difficulty, the order of rows, and a run that is stopped in the middle of one."""

import collections
import json
import math
import random
import types

import numpy as np
import pytest

import train
from codefit.encoding import Encoder
from codefit.errors import UserError
from codefit.generation import likelihood
from codefit.modeling import loading
from codefit.records import Pair, write_jsonl
from codefit.training import curriculum, own_loss, scratch_flags, trainer
from tests.support.texts import SOURCES
from tests.support.training import settings_of


def rows(*texts):
    return [np.array([ord(letter) - ord("a") for letter in text], dtype=np.int64) for text in texts]


# ---------------------------------------------------------------------------------------------- difficulty


def test_rarity_is_the_mean_unigram_surprisal():
    # eight letters: a six times, b and c once
    assert curriculum.rarities(rows("aaaa", "ab", "ac", "")) == pytest.approx(
        [math.log(8 / 6), (math.log(8 / 6) + math.log(8)) / 2, (math.log(8 / 6) + math.log(8)) / 2, 0.0]
    )


def test_entropy_is_computed_per_document():
    assert curriculum.entropies(rows("aaaa", "abab", "abcd", "aaab", "")) == pytest.approx(
        [0.0, 1.0, 2.0, -0.25 * math.log2(0.25) - 0.75 * math.log2(0.75), 0.0]
    )


def test_length_is_in_tokens():
    assert curriculum.lengths(rows("aaaa", "ab", "")) == [4.0, 2.0, 0.0]


def test_loss_is_the_bits_per_byte_under_a_trained_model(tiny_base):
    texts = ["def f(x):\n    return x\n", "", "import os\n" * 400]  # the last one is longer than the context window
    pairs = [Pair(str(at), "document", "", text) for at, text in enumerate(texts)]
    found = curriculum.losses(pairs, str(tiny_base))
    tokenizer, model = loading.load(str(tiny_base))
    whole = likelihood.completion_nats(model, Encoder(tokenizer, 512), pairs[:1])[0][0]
    assert found[0] == pytest.approx(whole / math.log(2) / len(texts[0]), rel=1e-5)
    assert found[1] == 0.0
    assert math.isfinite(found[2])


def test_documents_are_sorted_and_no_more_than_needed_are_read(tiny_tokenizer, capsys):
    order = settings_of("--curriculum", "sequential", "--curriculum_by", "length").curriculum
    pairs = [Pair(str(size), "document", "", "x = 1\n" * size) for size in (30, 10, 20, *[5] * 125)]
    encoder = Encoder(tiny_tokenizer, 64)
    assert [pair.id for pair in curriculum.by_difficulty(order, pairs, encoder)] == ["5"] * 125 + ["10", "20", "30"]
    few = curriculum.by_difficulty(order, pairs, encoder, enough_tokens=50)
    assert len(few) == 64
    assert "curriculum  sequential by length: " in capsys.readouterr().out


# ---------------------------------------------------------------------------------------------- order


ROWS = 40


POOLS = ("growing_pool", "growing_pool_reversed")


@pytest.mark.parametrize("kind", ["random", *(kind for kind in scratch_flags.CURRICULA if kind not in POOLS)])
@pytest.mark.parametrize("total", [ROWS // 4, ROWS, ROWS * 2, ROWS * 5 // 2, 1, 0])
def test_every_row_is_seen_equally_often(kind, total):
    order = curriculum.visits(kind, ROWS, total, seed=0)
    assert len(order) == total
    seen = collections.Counter(dict.fromkeys(range(ROWS), 0))
    seen.update(order)
    assert set(seen.values()) <= {total // ROWS, -(-total // ROWS)}
    for start in range(0, total, ROWS):
        epoch = order[start : start + ROWS]
        assert len(set(epoch)) == len(epoch)
    assert order == curriculum.visits(kind, ROWS, total, seed=0)


def test_orders():
    easy_first = list(range(ROWS))
    assert curriculum.visits("sequential", ROWS, 2 * ROWS, 0) == easy_first * 2
    assert curriculum.visits("reversed", ROWS, 2 * ROWS, 0) == easy_first[::-1] * 2


def test_a_run_shorter_than_an_epoch_sees_hard_rows_too():
    order = curriculum.visits("sequential", 1000, 100, 0)
    assert order == sorted(order)
    assert order[0] < 100
    assert order[-1] > 900


def test_a_sliding_window_draws_from_the_easiest_that_are_left():
    order = curriculum.visits("sliding_window", ROWS, ROWS, seed=1)
    window = math.ceil(curriculum.WINDOW * ROWS)
    left = list(range(ROWS))
    ranks = []
    for row in order:
        ranks.append(left.index(row))
        left.remove(row)
    assert max(ranks) == window - 1
    assert order != sorted(order)
    assert order != curriculum.visits("sliding_window", ROWS, ROWS, seed=2)


@pytest.mark.parametrize(("total", "sorted_parts"), [(ROWS, [20]), (2 * ROWS, [40]), (3 * ROWS, [40, 20])])
def test_a_hybrid_is_sorted_in_its_first_half(total, sorted_parts):
    order = curriculum.visits("hybrid", ROWS, total, seed=0)
    for epoch, size in enumerate(sorted_parts):
        part = order[epoch * ROWS : epoch * ROWS + size]
        assert part == sorted(part)
    rest = order[total // 2 :]
    assert rest != sorted(rest)
    assert max(order[: sorted_parts[0]]) > ROWS // 2  # the first half holds hard rows as well


@pytest.mark.parametrize("kind", POOLS)
def test_a_pool_grows_in_the_first_half_of_the_run(kind):
    order = curriculum.visits(kind, 1000, 4000, seed=0)
    assert (len(order), order) == (4000, curriculum.visits(kind, 1000, 4000, seed=0))
    ranks = [999 - row for row in order] if kind.endswith("reversed") else order
    assert max(ranks[:10]) < 105
    assert 450 < max(ranks[:1000]) < 551
    assert max(ranks[2000:]) > 990
    assert sum(ranks[2000:]) / 2000 == pytest.approx(500, rel=0.1)


def test_ranks_that_are_not_those_of_the_rows_set_the_order():
    chance = random.Random(0)
    ranks = [3, 0, 2, 1]
    for kind, wanted in (("sequential", [1, 3, 2]), ("reversed", [2, 3, 1])):
        assert curriculum.ordered(kind, [3, 2, 1], ranks, 4, 8, chance) == wanted
    assert curriculum.ordered("hybrid", [0, 3, 2, 1], ranks, 2, 8, chance) == [3, 0, 2, 1]
    assert set(curriculum.ordered("growing_pool", [0] * 4, ranks, 0, 1000, chance)) == {1}


def test_packing_in_order_keeps_every_sample_and_nearly_the_order():
    lengths = np.random.default_rng(0).integers(5, 60, 1000).tolist()
    found = curriculum.pack_in_order(lengths, 64)
    assert sorted(index for row in found for index in row) == list(range(1000))
    assert all(sum(lengths[index] for index in row) <= 64 for row in found)
    assert all(max(row) - min(row) < curriculum.BLOCK for row in found)
    blocks = [row[0] // curriculum.BLOCK for row in found]
    assert blocks == sorted(blocks)
    assert sum(lengths) / (64 * len(found)) > 0.8


# ---------------------------------------------------------------------------------------------- the script


@pytest.fixture
def documents(tmp_path):
    pairs = [Pair(str(path), "document", "", path.read_text()) for path in SOURCES[:10]]
    (tmp_path / "documents").mkdir()
    write_jsonl(tmp_path / "documents" / "train.jsonl", pairs[2:])
    write_jsonl(tmp_path / "documents" / "validation.jsonl", pairs[:2])
    return tmp_path / "documents"


def command(documents, output, *more):
    words = ["--from_scratch", "--dataset", str(documents), "--output_dir", str(output), "--max_steps", "6"]
    words += ["--vocab_size", "400", "--hidden_size", "32", "--num_hidden_layers", "1", "--num_attention_heads", "2"]
    words += ["--intermediate_size", "64", "--max_length", "128", "--per_device_train_batch_size", "2"]
    words += ["--gradient_accumulation_steps", "1", "--validation_samples", "4", "--save_steps", "2"]
    return [*words, "--learning_rate", "1e-2", *more]


@pytest.mark.parametrize(("kind", "by"), [("hybrid", "entropy"), ("reversed", "own_loss")])
def test_a_resumed_run_continues_the_curriculum_where_it_stopped(documents, tmp_path, monkeypatch, kind, by):
    flags = ["--curriculum", kind, "--curriculum_by", by]
    if by == "own_loss":  # a few rows, so that six steps are several epochs
        write_jsonl(documents / "train.jsonl", [Pair("a", "document", "", "".join(f"x{n} = {n}\n" for n in range(60)))])
    seen = []
    step = trainer.CodeTrainer.training_step

    def recorded(self, model, inputs, *rest):
        seen.append(inputs["input_ids"].tolist())
        return step(self, model, inputs, *rest)

    def stopped(self, model, inputs, *rest):
        if len(seen) == 5:
            raise KeyboardInterrupt
        return recorded(self, model, inputs, *rest)

    monkeypatch.setattr(trainer.CodeTrainer, "training_step", recorded)
    train.main(command(documents, tmp_path / "whole", *flags))
    whole, seen[:] = list(seen), []
    monkeypatch.setattr(trainer.CodeTrainer, "training_step", stopped)
    with pytest.raises(KeyboardInterrupt):
        train.main(command(documents, tmp_path / "parts", *flags))
    monkeypatch.setattr(trainer.CodeTrainer, "training_step", recorded)
    before, seen[:] = list(seen), []
    train.main(command(documents, tmp_path / "parts", *flags))
    assert before == whole[:5]
    assert seen == whole[4:]
    one, two = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "parts"))
    assert one == two


def test_sequential_and_reversed_runs_start_at_opposite_ends(documents, tmp_path, monkeypatch):
    first = {}
    step = trainer.CodeTrainer.training_step

    def recorded(self, model, inputs, *rest):
        first.setdefault(kind, int((inputs["position_ids"] == 0).sum()))  # how many documents or ends of documents
        return step(self, model, inputs, *rest)

    monkeypatch.setattr(trainer.CodeTrainer, "training_step", recorded)
    pairs = [Pair(str(size), "document", "", f"x = {size}\n" * size) for size in range(1, 60)]
    write_jsonl(documents / "train.jsonl", pairs[::-1])
    for kind in ("sequential", "reversed"):
        flags = ["--curriculum", kind, "--curriculum_by", "length", "--fim_rate", "0"]
        train.main(command(documents, tmp_path / kind, *flags))
    assert first["sequential"] > first["reversed"]
    manifest = json.loads((tmp_path / "reversed" / "manifest.json").read_text())
    assert manifest["arguments"]["curriculum"] == "reversed"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--curriculum_by", "loss"], "--curriculum_by loss needs a model to compute the loss with; name one"),
        (["--curriculum_model", "x"], "--curriculum_model is used only by --curriculum with --curriculum_by loss"),
        (["--curriculum_by", "loss", "--curriculum_model", "no/where"], "no/where"),
    ],
)
def test_contradictory_curriculum_flags_are_refused(documents, tmp_path, flags, message):
    with pytest.raises(UserError, match=message):
        train.main(command(documents, tmp_path / "model", "--curriculum", "hybrid", *flags))


def test_a_run_of_one_epoch_cannot_be_ordered_by_its_own_loss(documents, tmp_path):
    wanted = "orders the rows from the second epoch on, and this run has no second one; raise --num_train_epochs"
    words = ["--curriculum", "sequential", "--curriculum_by", "own_loss", "--max_steps", "1"]
    with pytest.raises(UserError, match=wanted):
        train.main(command(documents, tmp_path / "model", *words))


def test_an_epoch_is_ordered_by_the_loss_that_the_model_has(tmp_path):
    """Rows that are seen keep their place, and so do those of the next step."""
    dataset = types.SimpleNamespace(rows=[[0], [1], [2], [3]], visits=[2, 0, 1, 3, 0, 1, 2, 3, 3, 1, 0, 2])
    nats = [4.0, 1.0, 3.0, 2.0]
    trainer = types.SimpleNamespace(train_dataset=dataset, nats_of_rows=lambda rows: nats, losses=None)
    arguments = types.SimpleNamespace(per_device_train_batch_size=1, gradient_accumulation_steps=1)
    order = own_loss.OrderByOwnLoss(trainer, "sequential", seed=0)
    for step in range(1, 12):
        order.on_step_end(arguments, types.SimpleNamespace(global_step=step), None)
    assert dataset.visits == [2, 0, 1, 3, 1, 3, 2, 0, 1, 3, 2, 0]
    order.keep(tmp_path)
    trainer.losses = types.SimpleNamespace(checkpoint=tmp_path)
    dataset.visits = [0] * 12
    order.on_train_begin(arguments, None, None)
    assert dataset.visits == [2, 0, 1, 3, 1, 3, 2, 0, 1, 3, 2, 0]


def test_a_curriculum_is_for_a_model_from_scratch(tiny_base, prepared, tmp_path):
    words = ["--model_name_or_path", str(tiny_base), "--dataset", str(prepared), "--output_dir", str(tmp_path / "x")]
    with pytest.raises(UserError, match=r"--curriculum .*--from_scratch|--from_scratch .*--curriculum"):
        train.main([*words, "--curriculum", "sequential"])
