"""`--backend vllm`: with a stand-in for vLLM it gives the results of Transformers; unsupported models are refused.

The stand-in has the part of vLLM's interface that codefit uses; it is compared with the real one where installed.
"""

import dataclasses
import importlib.util
import inspect
import json
import shutil
import sys

import peft
import pytest
import transformers

from codefit import records
from codefit.errors import UserError
from codefit.generation import vllm_backend
from codefit.manifest import ROOT
from tests.support.benchmark import PAIRS, predictions, run, scores

pytestmark = pytest.mark.usefixtures("same_arithmetic")

STAND_IN = ROOT / "tests" / "support" / "vllm_stand_in"


@pytest.fixture
def engines(monkeypatch):
    """The engines that the stand-in has created."""
    monkeypatch.syspath_prepend(str(STAND_IN))
    for name in [name for name in sys.modules if name.split(".")[0] == "vllm"]:
        monkeypatch.delitem(sys.modules, name)
    import vllm

    assert str(STAND_IN) in str(vllm.__file__)
    yield vllm.MADE
    for name in [name for name in sys.modules if name.split(".")[0] == "vllm"]:
        del sys.modules[name]


def assert_same(found, wanted):
    """Compare predictions of vLLM with those of Transformers.

    vLLM gives no logits, and so no entropy. It has no KV cache to share, so nats are those of prompt and reference
    together, which round differently.
    """
    nats = [[item.scores.pop("nats") for item in items] for items in (found, wanted)]
    assert nats[0] == pytest.approx(nats[1], rel=1e-5)
    for item in wanted:
        item.scores.pop("entropy")
    assert found == wanted


def test_base_adapter_merged_and_few_shot_give_the_same_predictions(made, tmp_path, engines):
    words = ["--few_shot", "1", "--hf_repository", str(made / "adapter"), str(made / "merged")]
    for backend in ("transformers", "vllm"):
        run(made, tmp_path / backend, *words, "--backend", backend)
    for role in ("base", "adapted", "adapted-2", "few-shot"):
        assert_same(predictions(tmp_path / "vllm", role), predictions(tmp_path / "transformers", role))
    assert [engine.options["model"] for engine in engines] == [str(made / "base"), str(made / "merged")]
    assert engines[0].options["max_lora_rank"] == 8
    assert not any(engine.is_open for engine in engines)
    row = scores(tmp_path / "vllm")["benchmarks"]["heldout"]["metrics"][0]
    assert "|by:vllm 0.32.0, likelihood by transformers " in row["signature"]
    assert row["signature"].endswith("|dtype:float32|device:cpu|flips:0/8")


def test_the_stop_condition_of_a_task_cuts_what_vllm_generates(made, tmp_path, engines):
    pairs = [dataclasses.replace(pair, task="line") for pair in PAIRS]
    records.write_jsonl(tmp_path / "lines.jsonl", pairs)
    words = ["--benchmark", str(tmp_path / "lines.jsonl"), "--max_new_tokens", "60"]
    for backend in ("transformers", "vllm"):
        run(made, tmp_path / backend, *words, "--dataset", str(made / "data"), "--backend", backend)
    found, wanted = (predictions(tmp_path / backend, "base", "lines") for backend in ("vllm", "transformers"))
    assert_same(found, wanted)
    assert any(item.finish_reason == "stop" for item in found)


@pytest.mark.skipif(importlib.util.find_spec("vllm") is not None, reason="vLLM is installed")
def test_without_vllm_the_install_command_is_named(made, tmp_path):
    message = r"needs vLLM, which is not installed; run `pip install vllm` in a separate environment"
    with pytest.raises(UserError, match=message):
        run(made, tmp_path / "out", "--backend", "vllm")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "words", "sentence"),
    [
        ({}, ["--load_in_4bit"], "does not support models in 4 bits; add --no-load_in_4bit"),
        ({"use_dora": True}, [], "is a DoRA adapter, which vLLM cannot attach; merge it with merge_lora.py"),
        ({"trainable_token_indices": [5]}, [], "adds tokens, which vLLM cannot attach"),
        ({"modules_to_save": ["lm_head"]}, [], r"holds fully trained layers \(lm_head\), which vLLM cannot attach"),
        ({"lora_bias": True}, [], "holds trained biases, which vLLM cannot attach"),
        ({"bias": "all"}, [], "holds trained biases, which vLLM cannot attach"),
        ({"target_modules": ["q_proj"]}, [], "does not fit its base, which has no place for"),
        ({"r": 2}, ["--model_name_or_path", "no/such/base"], "no/such/base"),
    ],
)
def test_what_vllm_cannot_do_is_refused(made, tmp_path, engines, changes, words, sentence):
    shutil.copytree(made / "adapter", tmp_path / "adapter")
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    (tmp_path / "adapter" / "adapter_config.json").write_text(json.dumps({**config, **changes}))
    with pytest.raises(UserError, match=sentence):
        run(tmp_path, tmp_path / "out", "--backend", "vllm", *words)
    assert not (tmp_path / "out").exists()


def test_an_adapter_of_the_output_layer_is_refused(made, tmp_path, engines):
    base = transformers.AutoModelForCausalLM.from_pretrained(made / "base")
    config = peft.LoraConfig(r=4, task_type="CAUSAL_LM", target_modules=["q_proj", "lm_head"])
    peft.get_peft_model(base, config).save_pretrained(tmp_path / "adapter")
    with pytest.raises(UserError, match="changes the embedding or the output layer, which vLLM cannot attach"):
        run(tmp_path, tmp_path / "out", "--backend", "vllm", "--model_name_or_path", str(made / "base"))


def test_errors_of_vllm_become_one_sentence(made, engines, monkeypatch):
    engine = vllm_backend.VllmBackend(str(made / "base"), None, [str(made / "adapter")])
    engines[-1].options["max_lora_rank"] = 1
    with pytest.raises(UserError, match=r"vLLM cannot run .*adapter \(LoRA rank 8 is greater .*; leave --backend"):
        engine.complete([[1, 2]], max_new_tokens=2, eos_ids=[0], adapter=str(made / "adapter"))
    import vllm

    def too_large(*_, **__):
        raise ValueError("No available memory\nmore")

    monkeypatch.setattr(vllm, "LLM", too_large)
    with pytest.raises(UserError, match=r"vLLM cannot load .*base \(No available memory\); leave --backend vllm out"):
        vllm_backend.VllmBackend(str(made / "base"), None)


def test_a_gguf_base_is_given_to_vllm_as_its_dequantised_folder(made, engines, monkeypatch):
    folders = {"base.gguf": str(made / "base")}
    monkeypatch.setattr(vllm_backend.gguf_base, "local_model", folders.__getitem__)
    vllm_backend.VllmBackend("base.gguf", None)
    assert engines[-1].options["model"] == str(made / "base"), "vLLM reads no GGUF file itself"


def test_the_stand_in_has_the_interface_of_the_real_one():
    vllm = pytest.importorskip("vllm")
    from vllm.engine.arg_utils import EngineArgs
    from vllm.lora.request import LoRARequest

    options = set(inspect.signature(vllm.LLM.__init__).parameters) | {
        field.name for field in dataclasses.fields(EngineArgs)
    }
    assert options >= {"model", "revision", "dtype", "seed", "skip_tokenizer_init", "gpu_memory_utilization"}
    assert options >= {"load_format", "generation_config", "enable_lora", "max_lora_rank", "enforce_eager"}
    assert options >= {"distributed_executor_backend"}
    assert {"sampling_params", "use_tqdm", "lora_request"} <= set(inspect.signature(vllm.LLM.generate).parameters)
    greedy = vllm.SamplingParams(temperature=0.0, max_tokens=3, stop_token_ids=[1], detokenize=False)
    assert (greedy.max_tokens, greedy.stop_token_ids) == (3, [1])
    assert LoRARequest("adapter-1", 1, "folder").lora_path == "folder"
