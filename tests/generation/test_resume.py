"""A killed benchmark continues and writes the same bytes; a base is evaluated once for all its adapters."""

import signal
import time

import peft
import pytest
import torch

from codefit.evaluation import inference
from codefit.generation import batch_check, batched, stopping
from codefit.modeling import loading
from codefit.modeling.fingerprint import fingerprint
from tests.support import warm
from tests.support.benchmark import run, same_files

pytestmark = pytest.mark.usefixtures("same_arithmetic")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("CODEFIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "predictions"


def test_a_killed_benchmark_continues_to_the_same_bytes(made, tmp_path, cache, capsys):
    run(made, tmp_path / "whole", "--no_cache")
    assert not cache.exists()
    output = tmp_path / "out"
    shared = ["--hf_repository", str(made / "adapter"), "--output_dir", str(output), "--max_new_tokens", "8"]
    flags = [*shared, "--max_prompt_tokens", "40", "--tokens_per_batch", "200"]
    started = warm.Started("tests.support.benchmark", flags, tmp_path)
    while started.process.is_alive() and len(list(cache.rglob("*.json"))) < 2:
        time.sleep(0.005)
    started.stop(signal.SIGKILL)
    assert started.ended()[0] == -signal.SIGKILL
    stored = len(list(cache.rglob("*.json")))
    assert stored >= 2
    assert not output.exists()
    capsys.readouterr()
    run(made, output)
    assert "batches are taken from the cache in" in capsys.readouterr().out
    assert same_files(tmp_path / "whole", output) == ["manifest.json"]


def test_nothing_is_generated_twice(made, tmp_path, cache, monkeypatch):
    """The base is the same, and in float32 the adapter is merged before it is used: the merged model is cached too."""
    run(made, tmp_path / "adapter")
    used = []
    prefill = batched.prefill
    monkeypatch.setattr(batched, "prefill", lambda model, *rest: used.append(model) or prefill(model, *rest))
    run(made, tmp_path / "merged", model="merged")
    assert used == []
    run(made, tmp_path / "again", "--no_cache", model="merged")
    assert used
    assert all(not isinstance(model, peft.PeftModel) for model in used)
    names = {fingerprint(model)["model"] for model in used}
    assert fingerprint(loading.load_model(str(made / "base")))["model"] in names
    assert len(names) == 2


def test_a_fingerprint_identifies_what_is_computed(made):
    base = loading.load_model(str(made / "base"))
    alone = fingerprint(base)
    adapted = loading.attach_adapter(base, str(made / "adapter"))
    attached = fingerprint(adapted)
    assert attached != alone
    with adapted.disable_adapter():
        assert fingerprint(adapted) == alone
    with torch.no_grad():
        next(tensor for name, tensor in adapted.named_parameters() if "lora_B" in name).flatten()[0] += 1e-3
    assert fingerprint(adapted) not in (attached, alone)
    adapted.peft_config["default"].lora_alpha += 1
    changed = fingerprint(adapted)
    adapted.peft_config["default"].base_model_name_or_path = "elsewhere"
    assert fingerprint(adapted) == changed


def test_the_batch_check_is_printed(made, tmp_path, capsys, monkeypatch):
    run(made, tmp_path / "out")
    assert (
        "batch check: 0 of 8 completions changed when decoded in a different batch (rounding)"
        in capsys.readouterr().out
    )
    right = batched.generate

    def flipping(model, prompts, **settings):
        found = right(model, prompts, **settings)
        return [batched.Completion([], "stop"), *found[1:]]

    monkeypatch.setattr(batched, "generate", flipping)
    run(made, tmp_path / "flipping")
    assert (
        "batch check: 1 of 8 completions changed when decoded in a different batch (rounding)"
        in capsys.readouterr().out
    )


@pytest.mark.parametrize(("count", "sampled"), [(0, 0), (5, 5), (32, 8), (100, 25), (200, 32)])
def test_the_batch_check_uses_a_sample(made, count, sampled):
    model = loading.load_model(str(made / "base"))
    prompts = [[1 + at, 2, 3] for at in range(count)]
    how = {"eos_ids": [], "pad_id": 0}
    wrong = [batched.Completion([], "stop")] * count
    assert batch_check.flips(model, prompts, wrong, **how) == (sampled, sampled)
    right = batched.generate(model, prompts, max_new_tokens=2, **how)
    assert batch_check.flips(model, prompts, right, **how) == (0, sampled)


def test_a_prediction_ends_at_its_stop_condition(made):
    from codefit import encoding
    from tests.support.benchmark import PAIRS, new_tokenizer

    model, encoder = loading.load_model(str(made / "base")), encoding.Encoder(new_tokenizer(), 40)
    free, short = (
        inference.predict(model, inference.Asked(PAIRS, encoder, 60, stop), 4000, with_cache=False).items
        for stop in ("end", "line")
    )
    assert [item.prediction for item in short] == [stopping.text_until("line", item.prediction) for item in free]
    assert [item.scores for item in short] == [item.scores for item in free]
