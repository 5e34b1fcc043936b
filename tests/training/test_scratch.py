"""A model from scratch: its documents, its fill-in-the-middle, its optimizer, and the folder it becomes."""

import copy
import json
import math

import pytest
import torch
import transformers

import train
from codefit import encoding
from codefit.modeling import hardware, loading
from codefit.records import Pair, write_jsonl
from codefit.training import samples, scratch
from tests.support.texts import SOURCES


def test_muon_trains_matrices_and_adamw_the_rest_and_both_resume(tiny_tokenizer):
    def model_and_optimizer():
        torch.manual_seed(0)
        model = scratch.new_model(tiny_tokenizer, hidden_size=32, layers=2, heads=2, intermediate_size=64, context=64)
        return model, scratch.MuonWithAdamW(model, lr=1e-2, weight_decay=0.1)

    def step(model, optimizer):
        ids = torch.arange(40)[None]
        model(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    model, optimizer = model_and_optimizer()
    matrices, others = scratch.split_parameters(model)
    assert len(matrices) == 2 * 7
    assert len(matrices) + len(others) == len(list(model.parameters()))
    step(model, optimizer)
    twin, restored = model_and_optimizer()
    twin.load_state_dict(model.state_dict())
    restored.load_state_dict(copy.deepcopy(optimizer.state_dict()))  # as from a file, with no shared tensors
    for group in (*optimizer.param_groups, *restored.param_groups):
        group["lr"] = 5e-3  # as a schedule does
    for pair in ((model, optimizer), (twin, restored)):
        step(*pair)
    for left, right in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(left, right)


def test_weight_decay_applies_to_the_matrices_only(tiny_tokenizer):
    model = scratch.new_model(tiny_tokenizer, hidden_size=32, layers=1, heads=2, intermediate_size=64, context=64)
    optimizer = scratch.MuonWithAdamW(model, lr=1e-2, weight_decay=0.5)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    changed = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert changed == {name for name in before if name.endswith("_proj.weight")}


def test_a_new_model_is_uniform_and_its_residual_stream_does_not_grow(tiny_tokenizer):
    torch.manual_seed(0)
    model = scratch.new_model(tiny_tokenizer, hidden_size=64, layers=8, heads=2, intermediate_size=128, context=64)
    ids = torch.randint(0, len(tiny_tokenizer), (4, 64))
    with torch.no_grad():
        output = model(input_ids=ids, labels=ids, output_hidden_states=True)
    assert output.loss.item() == pytest.approx(math.log(len(tiny_tokenizer)), abs=0.05)
    first, last = (output.hidden_states[at].std().item() for at in (1, -2))  # the last one is after the final norm
    assert last < 3 * first
    layer = model.model.layers[0]
    assert layer.self_attn.q_proj.weight.std().item() == pytest.approx(0.02, rel=0.1)
    assert layer.mlp.down_proj.weight.std().item() == pytest.approx(0.02 / 4, rel=0.1)


@pytest.mark.parametrize("shape", [(24, 24), (48, 16), (16, 48)])
def test_muon_in_float32_takes_the_steps_of_pytorch_in_bfloat16(shape):
    torch.manual_seed(0)
    start, gradients = torch.randn(shape), torch.randn(3, *shape)
    moved = []
    for kind in (torch.optim.Muon, scratch.Muon):
        matrix = torch.nn.Parameter(start.clone())
        optimizer = kind([matrix], lr=1e-2, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
        for gradient in gradients:
            matrix.grad = gradient.clone()
            optimizer.step()
        moved.append(matrix.detach() - start)
    assert (moved[0] - moved[1]).norm() < 0.02 * moved[0].norm()  # bfloat16 keeps 8 bits


@pytest.mark.parametrize(("dtype", "kind"), [(torch.float32, scratch.Muon), (torch.bfloat16, torch.optim.Muon)])
def test_muon_computes_in_the_fastest_dtype_of_this_machine(tiny_base, monkeypatch, dtype, kind):
    monkeypatch.setattr(hardware, "compute_dtype", lambda: dtype)
    model = loading.load_model(str(tiny_base), dtype=torch.float32)
    assert type(scratch.MuonWithAdamW(model, lr=1e-2, weight_decay=0.1).parts[0]) is kind


def test_documents_become_chunks_that_hold_every_token(tiny_tokenizer):
    encoder = encoding.Encoder(tiny_tokenizer, 64)
    text = "".join(f"def f{n}(a):\n    return a + {n}\n\n" for n in range(60))
    pair = encoding.Pair(id="1", task="document", prompt="", completion=text)
    chunks = list(scratch.samples([pair], encoder, 64, fim_rate=0.0, seed=0))
    ids = [int(i) for chunk in chunks for i in chunk.ids]
    assert ids[0] == ids[-1] == encoder.eos_ids[0]
    assert encoder.decode(ids) == text
    assert all(len(chunk.ids) <= 64 for chunk in chunks)


def test_moved_middles_restore_the_text(tiny_tokenizer):
    encoder = encoding.Encoder(tiny_tokenizer, 64)
    text = "".join(f"value_{n} = compute({n})\n" for n in range(80))
    pair = encoding.Pair(id="1", task="document", prompt="", completion=text)
    restored = []
    before, behind, ask = (encoder.special[token] for token in encoder.fim.sentinels)
    for chunk in scratch.samples([pair], encoder, 64, fim_rate=1.0, seed=0):
        ids = chunk.ids.tolist()
        if ask not in ids:
            restored.append(encoder.decode(ids))
            continue
        assert ids[-1] == encoder.eos_ids[0]
        if ids[1] == behind:  # suffix-prefix-middle: prefix and middle are one run of text
            suffix, rest = ids[2 : ids.index(ask)], ids[ids.index(ask) + 1 :]
            restored.append(encoder.decode(rest) + encoder.decode(suffix))
        else:
            assert ids[0] == before
            cut, asked = ids.index(behind), ids.index(ask)
            parts = (ids[1:cut], ids[asked + 1 :], ids[cut + 1 : asked])
            restored.append("".join(encoder.decode(part) for part in parts))
    assert "".join(restored) == text
    assert len(restored) > 10


@pytest.fixture
def documents(tmp_path):
    """A data set of whole documents: codefit's own files."""
    pairs = [Pair(str(path), "document", "", path.read_text()) for path in SOURCES]
    (tmp_path / "documents").mkdir()
    write_jsonl(tmp_path / "documents" / "train.jsonl", pairs[2:])
    write_jsonl(tmp_path / "documents" / "validation.jsonl", pairs[:2])
    return tmp_path / "documents"


def test_a_dry_run_of_a_model_from_scratch_writes_nothing(documents, tmp_path):
    """A tokenizer left by a dry run would be mistaken for that of a run to continue."""
    words = ["--from_scratch", "--dataset", str(documents), "--output_dir", str(tmp_path / "model"), "--dry_run"]
    train.main([*words, "--vocab_size", "400"])
    assert [path.name for path in tmp_path.iterdir()] == ["documents"]


def test_dropout_is_only_in_training(tiny_tokenizer):
    shape = {"hidden_size": 32, "layers": 2, "heads": 2, "intermediate_size": 64, "context": 64}
    torch.manual_seed(0)
    plain = scratch.new_model(tiny_tokenizer, **shape)
    torch.manual_seed(0)
    dropping = scratch.new_model(tiny_tokenizer, **shape, dropout=0.3)
    ids = torch.arange(40)[None]
    torch.testing.assert_close(dropping.eval()(ids).logits, plain.eval()(ids).logits)
    assert not torch.equal(dropping.train()(ids).logits, dropping(ids).logits)
    assert dropping.config.attention_dropout == 0.3
    assert {name for name, _ in dropping.named_parameters()} == {name for name, _ in plain.named_parameters()}


def test_beginnings_of_documents_are_continued():
    text = "".join(f"line {number}\n" for number in range(40))
    long, short, single = (Pair(id="a", task="document", prompt="", completion=it) for it in (text, "1\n2\n3", "1"))
    found = samples.document_prompts([long, short, single])
    assert [pair.prompt for pair in found] == [text[: text.index("line 8\n")], "1\n"]
    assert text.startswith(found[0].prompt + found[0].completion)
    assert found[0].completion.count("\n") == samples.SHOWN_LINES
    assert found[1].completion == "2\n3"


def test_a_model_from_scratch_is_a_full_model(documents, tmp_path):
    words = ["--from_scratch", "--dataset", str(documents), "--output_dir", str(tmp_path / "model"), "--max_steps", "3"]
    words += ["--vocab_size", "400", "--hidden_size", "32", "--num_hidden_layers", "2", "--num_attention_heads", "2"]
    words += ["--intermediate_size", "64", "--max_length", "128", "--per_device_train_batch_size", "2"]
    train.main([*words, "--lr_scheduler_type", "warmup_stable_decay"])
    tokenizer, model = loading.load(str(tmp_path / "model"))
    assert len(tokenizer) == 400
    assert model.config.num_hidden_layers == 2
    validation = json.loads((tmp_path / "model" / "manifest.json").read_text())["validation"]
    assert validation["eval_perplexity"] == pytest.approx(math.exp(validation["eval_loss"]))
    assert 0 <= validation["eval_accuracy"] <= validation["eval_top_5_accuracy"] <= 1
    logged = json.loads((tmp_path / "model" / "trainer_state.json").read_text())["log_history"]
    assert validation in [{name: row.get(name) for name in validation} for row in logged]
    stored = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    assert stored.dtype == torch.bfloat16
