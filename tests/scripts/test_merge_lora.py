"""A merged model predicts what the adapter predicts, or it is not kept."""

import dataclasses
import json
import shutil

import pytest
import torch
import transformers

import complete
import merge_lora
import train
from codefit import outputs
from codefit.encoding import Encoder
from codefit.errors import UserError
from codefit.manifest import ROOT
from codefit.modeling import adapters, hardware, loading, merging
from tests.support.training import CONFIGS, command

PROBE_TEXT = ROOT / "data" / "probe.txt"  # the fourth line is empty


@pytest.fixture(scope="module")
def adapter(tiny_base, prepared, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "adapter"
    train.main(command(tiny_base, prepared, folder, "--max_steps", "12"))
    return folder


@pytest.fixture(scope="module")
def adapter_4bit(tiny_base, prepared, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run4") / "adapter"
    train.main(command(tiny_base, prepared, folder, "--max_steps", "12", "--load_in_4bit"))
    return folder


def predictions(model, ids):
    with torch.inference_mode():
        return torch.log_softmax(model(input_ids=ids).logits.float(), -1)


IDS = torch.arange(20, 60)[None]


@pytest.mark.parametrize("kind", ["adapter", "adapter_4bit"])
def test_the_merged_model_predicts_what_the_adapter_predicts(request, tiny_base, tmp_path, kind, capsys):
    folder = request.getfixturevalue(kind)
    output = tmp_path / "merged"
    merge_lora.main(["--hf_repository", str(folder), "--output_dir", str(output)])
    merged = transformers.AutoModelForCausalLM.from_pretrained(output, dtype=torch.float32)
    assert getattr(merged, "quantization_method", None) is None
    base = loading.load_model(str(tiny_base), load_in_4bit=kind == "adapter_4bit", dtype=torch.float32)
    trained = loading.attach_adapter(base, str(folder))
    wanted = predictions(trained, IDS)
    with trained.disable_adapter():
        effect = (predictions(trained, IDS) - wanted).abs().max()
    assert (predictions(merged, IDS) - wanted).abs().max() < 0.2 * effect
    manifest = json.loads((output / "manifest.json").read_text())
    assert manifest["merge"]["kl_to_adapter"] < 0.02 * manifest["merge"]["kl_adapter_to_base"]
    assert manifest["merge"]["edit_similarity"] > (90 if hardware.compute_dtype() == torch.float32 else 80)
    assert manifest["base_model"] == str(tiny_base)
    names = {path.name for path in output.iterdir()}
    assert names >= {"config.json", "model.safetensors", "tokenizer.json", "generation_config.json", "loss.png"}
    generation = json.loads((output / "generation_config.json").read_text())
    assert generation["eos_token_id"] == transformers.AutoTokenizer.from_pretrained(output).eos_token_id
    assert "same first choice" in capsys.readouterr().out


@pytest.mark.parametrize("architecture", CONFIGS)
def test_every_architecture_merges(architecture, tiny_tokenizer, tmp_path):
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(CONFIGS[architecture])
    model.save_pretrained(tmp_path / "base")
    peft_model = adapters.add_lora(model, r=4, alpha=8, dropout=0.0, targets="all-linear")
    for name, weight in peft_model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.1)
    ids = torch.arange(1, 40)[None]
    wanted = predictions(peft_model.eval(), ids)
    with peft_model.disable_adapter():
        assert (predictions(peft_model, ids) - wanted).abs().max() > 0.01
    peft_model.save_pretrained(tmp_path / "adapter")
    (tmp_path / "merged").mkdir()
    base = merging.Base(str(tmp_path / "base"), None, False, torch.float32)
    merging.write_merged(base, str(tmp_path / "adapter"), tiny_tokenizer, tmp_path / "merged", torch.float32, 10**9)
    merged = loading.load_model(str(tmp_path / "merged"), dtype=torch.float32)
    torch.testing.assert_close(predictions(merged, ids), wanted, rtol=1e-4, atol=1e-4)


def test_a_merge_that_differs_is_not_kept(adapter, tmp_path, monkeypatch):
    """Planted: the base that is merged into is not the one that was trained on."""
    honest = merging.BaseWeights.read

    def another_base(self, name, dtype=None):
        weight = honest(self, name, dtype)
        return weight + torch.randn_like(weight) * 0.05

    monkeypatch.setattr(merging.BaseWeights, "read", another_base)
    output = tmp_path / "merged"
    with pytest.raises(UserError, match=r"the merged model differs from the adapter .* and was not kept; check that"):
        merge_lora.main(["--hf_repository", str(adapter), "--output_dir", str(output)])
    assert list(tmp_path.iterdir()) == []


def test_an_adapter_too_small_for_bfloat16_is_saved_in_float32(adapter, tmp_path):
    from safetensors.torch import load_file, save_file

    small = tmp_path / "adapter"
    small.mkdir()
    for path in adapter.iterdir():
        (small / path.name).write_bytes(path.read_bytes())
    weights = load_file(small / "adapter_model.safetensors")
    save_file({k: v * 0.02 if "lora_B" in k else v for k, v in weights.items()}, small / "adapter_model.safetensors")
    merge_lora.main(["--hf_repository", str(small)])
    manifest = json.loads((tmp_path / "merged" / "manifest.json").read_text())
    assert manifest["merge"]["dtype"] == "float32"


def test_a_full_disk_is_one_sentence(adapter, tmp_path, monkeypatch):
    """Nothing half-written stays: not of the merge, and not of the GGUF file of a merge that had room."""
    words = ["--hf_repository", str(adapter), "--output_dir", str(tmp_path / "merged")]
    usage = shutil.disk_usage(tmp_path)
    with monkeypatch.context() as full:
        full.setattr(shutil, "disk_usage", lambda folder: usage._replace(free=1000))
        message = (
            r"the merged model needs [\d.]+ [kM]B and the disk has 1 kB left; free some space, or name another --output"
        )
        with pytest.raises(UserError, match=message):
            merge_lora.main(words)
        assert list(tmp_path.iterdir()) == []
    merge_lora.main(words)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage._replace(free=1000))
    with pytest.raises(UserError, match="the GGUF file needs"):
        merge_lora.main([*words, "--gguf"])
    assert [path.name for path in tmp_path.iterdir()] == ["merged"]


def test_running_twice_does_nothing_twice(adapter, tmp_path, capsys):
    words = ["--hf_repository", str(adapter), "--output_dir", str(tmp_path / "merged")]
    merge_lora.main(words)
    stamp = (tmp_path / "merged" / "manifest.json").stat().st_mtime_ns
    merge_lora.main(words)
    assert "already merged and verified; nothing to do" in capsys.readouterr().out
    assert (tmp_path / "merged" / "manifest.json").stat().st_mtime_ns == stamp


def test_without_its_data_set_the_prompts_are_those_of_the_probe_text(adapter, tiny_tokenizer):
    plan = merge_lora.make_plan(str(adapter))
    encoder = Encoder(tiny_tokenizer, 10_000)
    for dataset in (None, "no/such/folder"):
        prompts = merge_lora.probe_prompts(dataclasses.replace(plan, dataset=dataset), encoder)
        texts = [encoder.decode(prompt) for prompt in prompts]
        assert len(set(texts)) == merge_lora.PROBES
        assert all(PROBE_TEXT.read_text().startswith(text) and text.endswith("\n") for text in texts)


def test_an_existing_other_model_is_not_replaced(adapter, tmp_path):
    (tmp_path / "merged").mkdir()
    with pytest.raises(UserError, match="already exists and is complete; add --overwrite"):
        merge_lora.main(["--hf_repository", str(adapter), "--output_dir", str(tmp_path / "merged")])


def test_dry_run_writes_nothing(adapter, tmp_path, capsys):
    merge_lora.main(["--hf_repository", str(adapter), "--output_dir", str(tmp_path / "merged"), "--dry_run"])
    assert list(tmp_path.iterdir()) == []
    assert "base " in capsys.readouterr().out


NO_TENSORS, LORA = "\x02\0\0\0\0\0\0\0{}", '{"peft_type": "LORA"}'


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "holds no adapter_model.safetensors; train.py writes one"),
        ({"adapter_model.safetensors": ""}, "holds no adapter_config.json; train.py writes one"),
        ({"adapter_model.safetensors": "", "adapter_config.json": "{"}, r"is not valid JSON \(.*\); train again"),
        ({"adapter_model.safetensors": NO_TENSORS, "adapter_config.json": LORA}, "does not name its base model"),
    ],
)
def test_a_folder_without_an_adapter_is_one_sentence(tmp_path, files, message):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=message):
        merge_lora.main(["--hf_repository", str(tmp_path)])


def test_the_adapter_is_not_overwritten_by_its_merge(adapter):
    with pytest.raises(UserError, match="is read by this run; name another folder for the output"):
        merge_lora.main(["--hf_repository", str(adapter), "--output_dir", str(adapter), "--overwrite"])
    assert (adapter / "adapter_model.safetensors").is_file()


@pytest.mark.parametrize("damaged", ["base", "adapter"])
def test_a_truncated_download_is_one_sentence(tiny_base, adapter, tmp_path, damaged):
    for name, folder, file in (("base", tiny_base, "model"), ("adapter", adapter, "adapter_model")):
        shutil.copytree(folder, tmp_path / name)
        if name == damaged:
            weights = tmp_path / name / f"{file}.safetensors"
            weights.write_bytes(weights.read_bytes()[:500])
    config = tmp_path / "adapter" / "adapter_config.json"
    config.write_text(config.read_text().replace(str(tiny_base), str(tmp_path / "base")))
    with pytest.raises(UserError, match=r"the weights in .*\.safetensors are damaged \(.*\); get"):
        merge_lora.main(["--hf_repository", str(tmp_path / "adapter")])
    assert not (tmp_path / "merged").exists()


def test_a_full_model_needs_no_merge(tiny_base):
    with pytest.raises(UserError, match="is a full model, not an adapter, so there is nothing to merge; use it"):
        merge_lora.main(["--hf_repository", str(tiny_base)])


@pytest.mark.parametrize("text", ["5", "0GB", "GB", "1.5GB", "-1MB", "5TB"])
def test_an_invalid_size_is_refused(text, capsys):
    with pytest.raises(SystemExit) as stop:
        merge_lora.build_parser().parse_args([f"--max_shard_size={text}"])
    assert stop.value.code == 2
    assert f"'{text}' is not a size; write it as 500MB or 5GB" in capsys.readouterr().err


def test_sizes_are_read():
    parse = merge_lora.build_parser().parse_args
    assert [parse(["--max_shard_size", text]).max_shard_size for text in ("500MB", "2gb")] == [500 * 10**6, 2 * 10**9]
    assert parse([]).max_shard_size == 5 * 10**9


def test_push_without_a_repository_is_refused_before_any_work(adapter, tmp_path):
    with pytest.raises(UserError, match="--push needs a Hub repository"):
        merge_lora.main(["--hf_repository", str(adapter), "--output_dir", str(tmp_path / "merged"), "--push"])
    assert not outputs.partial(tmp_path / "merged").exists()


# ---------------------------------------------------------------------------------------------- complete.py


@pytest.mark.parametrize("kind", ["tiny_base", "adapter"])
def test_complete_prints_what_transformers_would_generate(request, kind, capsys):
    name = str(request.getfixturevalue(kind))
    complete.main(["--hf_repository", name, "--prompt", "def f(", "--max_new_tokens", "8"])
    printed = capsys.readouterr().out
    tokenizer, model = loading.load(name)
    ids = torch.tensor([tokenizer("def f(", add_special_tokens=False).input_ids])
    out = model.generate(input_ids=ids, max_new_tokens=8, do_sample=False, pad_token_id=tokenizer.pad_token_id)
    assert printed == tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True) + "\n"


def test_complete_reads_a_position_in_a_file(tmp_path):
    file = tmp_path / "a.py"
    file.write_text("one\ntwo = 2\nthree\n")
    words = ["--hf_repository", "x", "--file", str(file), "--line", "2", "--column", "4"]
    source = complete.Request.of(complete.build_parser().parse_args(words)).source
    assert complete.read_prompt(source) == ("one\ntwo", None)
    assert complete.read_prompt(dataclasses.replace(source, infill=True)) == ("one\ntwo", " = 2\nthree\n")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--infill"], "--infill takes the suffix from a file; add --file"),
        (["--file", "absent.py"], "cannot read absent.py as text"),
        (["--file", str(PROBE_TEXT), "--prompt", "x"], "--file already gives the prompt"),
        (["--file", str(PROBE_TEXT), "--line", "99999"], "and no line 99999; lower --line"),
        (["--file", str(PROBE_TEXT), "--line", "4", "--column", "7"], "has no column 7; lower --column"),
    ],
)
def test_complete_names_what_is_wrong(flags, message):
    with pytest.raises(UserError, match=message):
        complete.main(["--hf_repository", "x", *flags])
