"""Models, adapters and tokenizers of other tools work, or one sentence names the cause."""

import json
import shutil

import peft
import pytest
import safetensors.torch
import torch
import transformers

import benchmarking
import complete
import merge_lora
from codefit.encoding import Encoder
from codefit.errors import UserError
from codefit.modeling import adapters, hub_files, loading, merging
from tests.support.architectures import SEE_EACH_OTHER

SIZES = {"vocab_size": 600, "bos_token_id": None, "eos_token_id": 0, "pad_token_id": 0}


def plain_adapter(base, folder, **options):
    """Write an adapter with plain PEFT: without a tokenizer and without a manifest."""
    torch.manual_seed(1)
    model = transformers.AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    wanted = {"r": 4, "target_modules": ["q_proj", "v_proj"], "init_lora_weights": False, "task_type": "CAUSAL_LM"}
    peft.get_peft_model(model, peft.LoraConfig(**(wanted | options))).save_pretrained(folder)
    return folder


def edited(folder, name, **changes):
    path = folder / name
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return folder


def completed(capsys, folder, *flags):
    complete.main(["--hf_repository", str(folder), "--prompt", "def f(", "--max_new_tokens", "8", *flags])
    return capsys.readouterr().out


@pytest.fixture
def base(tiny_base, tmp_path):
    return shutil.copytree(tiny_base, tmp_path / "base")


# ---------------------------------------------------------------------------------------------- adapters


@pytest.mark.parametrize(
    ("options", "changes"),
    [
        ({}, {}),
        ({"task_type": None}, {}),
        ({}, {"base_model_name_or_path": None}),
        ({}, {"base_model_name_or_path": "somebody/on-the-hub"}),
        ({}, {"base_model_name_or_path": "/workspace/models/base"}),
        ({"target_modules": r".*layers\.\d+\.self_attn\.(q|v)_proj"}, {}),
        ({"use_rslora": True, "rank_pattern": {"q_proj": 2}}, {}),
        ({"modules_to_save": ["lm_head"]}, {}),
    ],
)
def test_an_adapter_of_another_tool_completes_merges_and_is_benchmarked(
    base, tmp_path, capsys, options, changes, prepared
):
    adapter = edited(plain_adapter(base, tmp_path / "run" / "adapter", **options), "adapter_config.json", **changes)
    given = ["--model_name_or_path", str(base)]
    merge_lora.main(["--hf_repository", str(adapter), *given])
    assert json.loads((adapter.parent / "merged" / "manifest.json").read_text())["base_model"] == str(base)
    capsys.readouterr()
    whole = completed(capsys, adapter.parent / "merged")
    assert completed(capsys, adapter, *given) == whole
    assert completed(capsys, base) != whole, "the adapter changes the completion"
    words = ["--hf_repository", str(adapter), *given, "--dataset", str(prepared), "--output_dir", str(tmp_path / "out")]
    benchmarking.main([*words, "--dry_run"])
    assert str(base) in capsys.readouterr().out


@pytest.mark.parametrize(
    "options",
    [
        {"use_rslora": True, "rank_pattern": {"q_proj": 2}, "alpha_pattern": {"v_proj": 3}},
        {"use_dora": True, "modules_to_save": ["lm_head"]},
        {"target_modules": "all-linear", "exclude_modules": ["down_proj"]},
        {"target_modules": r".*\.(q|o)_proj", "exclude_modules": r".*layers\.0\..*"},
        {"layers_to_transform": [1], "layers_pattern": "layers"},
        {"layers_to_transform": 0, "lora_alpha": 3},
        {"fan_in_fan_out": True},
        {"trainable_token_indices": [3, 5]},
        {"bf16": True},
    ],
    ids=str,
)
def test_a_merge_gives_the_weights_of_peft(tiny_base, tmp_path, options):
    narrow = options.pop("bf16", False)
    folder = plain_adapter(tiny_base, tmp_path / "adapter", **options)
    if narrow:
        weights = safetensors.torch.load_file(folder / "adapter_model.safetensors")
        weights = {name: tensor.bfloat16() for name, tensor in weights.items()}
        safetensors.torch.save_file(weights, folder / "adapter_model.safetensors", {"format": "pt"})
    base = merging.Base(str(tiny_base), None, False, torch.float32)
    tokenizer = loading.load_tokenizer(str(tiny_base))
    (tmp_path / "merged").mkdir()
    merging.write_merged(base, str(folder), tokenizer, tmp_path / "merged", torch.float32, 10**9)
    ours = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "merged").state_dict()
    model = transformers.AutoModelForCausalLM.from_pretrained(tiny_base, dtype=torch.float32)
    original = {name: weight.clone() for name, weight in model.state_dict().items()}
    wanted = peft.PeftModel.from_pretrained(model, folder).merge_and_unload().state_dict()
    assert ours.keys() == wanted.keys()
    for name, weight in wanted.items():
        torch.testing.assert_close(ours[name], weight, rtol=1e-5, atol=1e-6)
    assert any(not torch.equal(wanted[name], weight) for name, weight in original.items())


def test_an_adapter_with_pickled_weights_only_is_refused(base, tmp_path):
    folder = plain_adapter(base, tmp_path / "adapter")
    weights = safetensors.torch.load_file(folder / "adapter_model.safetensors")
    torch.save(weights, folder / "adapter_model.bin")
    (folder / "adapter_model.safetensors").unlink()
    with pytest.raises(UserError, match=r"adapter_model\.safetensors"):
        completed(None, folder)


def test_trained_biases_that_the_base_lacks_are_benchmarked_but_not_merged(base, tmp_path, prepared):
    adapter = plain_adapter(base, tmp_path / "run" / "adapter", lora_bias=True)
    with pytest.raises(
        UserError, match=r"has biases \(lora_bias\) for layers that have none in .*; serve it with PEFT"
    ):
        merge_lora.main(["--hf_repository", str(adapter)])
    assert not (adapter.parent / "merged").exists()
    words = ["--hf_repository", str(adapter), "--dataset", str(prepared), "--output_dir", str(tmp_path / "out")]
    benchmarking.main([*words, "--sample", "2", "--max_new_tokens", "4", "--max_prompt_tokens", "99"])
    assert (tmp_path / "out" / "scores.json").is_file()


def test_a_base_that_does_not_exist_has_to_be_named(base, tmp_path):
    adapter = plain_adapter(base, tmp_path / "adapter")
    for name, said in (
        (
            "/workspace/models/base",
            r"names the base model /workspace/models/base, which does not exist; give it with --model_name",
        ),
        (None, "does not name its base model; give it with --model_name_or_path"),
    ):
        edited(adapter, "adapter_config.json", base_model_name_or_path=name)
        with pytest.raises(UserError, match=said):
            completed(None, adapter)


def test_a_pattern_that_takes_too_long_is_refused(base, tmp_path):
    adapter = edited(
        plain_adapter(base, tmp_path / "adapter"), "adapter_config.json", target_modules="(.*)*(.*)*(.*)*x"
    )
    with pytest.raises(UserError, match=r"a regular expression in .*adapter_config.json does not end within 5 seconds"):
        completed(None, adapter)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"r": 60000}, "gives the rank 60000, more than the weights have; download or train it again"),
        ({"trainable_token_indices": [10**8]}, r"trains token id 100000000, but the base has \d+ tokens"),
        ({"layer_replication": [[0, 2]] * 1000}, 'the field "layer_replication" must be null'),
        ({"peft_type": "NO_SUCH"}, "cannot attach the adapter"),
    ],
)
def test_an_impossible_adapter_configuration_is_refused(base, tmp_path, changes, said):
    adapter = edited(plain_adapter(base, tmp_path / "adapter"), "adapter_config.json", **changes)
    with pytest.raises(UserError, match=said):
        completed(None, adapter)


def test_new_tokens_saved_with_the_adapter_grow_the_base(base, tmp_path, capsys):
    tokenizer = transformers.AutoTokenizer.from_pretrained(base)
    tokenizer.add_tokens(["<|tool|>"])
    model = transformers.AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    model.resize_token_embeddings(len(tokenizer))
    lora = peft.LoraConfig(r=4, target_modules=["q_proj"], init_lora_weights=False, task_type="CAUSAL_LM")
    peft.get_peft_model(model, lora).save_pretrained(tmp_path / "adapter", save_embedding_layers=True)
    tokenizer.save_pretrained(tmp_path / "adapter")
    assert hub_files.rows_of(str(tmp_path / "adapter")) == len(tokenizer)
    assert completed(capsys, tmp_path / "adapter")


# ---------------------------------------------------------------------------------------------- tokens and ends


def with_tokens(folder, tokens, special, **roles):
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens([transformers.AddedToken(token, special=special) for token in tokens])
    for role, token in roles.items():
        setattr(tokenizer, role, token)
    tokenizer.save_pretrained(folder)
    return folder


def test_a_pad_token_without_an_embedding_row_is_replaced(base, capsys):
    before = completed(capsys, base)
    assert completed(capsys, with_tokens(base, ["[PAD]"], True, pad_token="[PAD]")) == before
    tokenizer, model = loading.load(str(base))
    assert Encoder(tokenizer, 64).pad_id < len(model.get_input_embeddings().weight)


def test_a_token_that_text_can_contain_needs_an_embedding_row(base):
    with_tokens(base, ["return_value_of"], False)
    with pytest.raises(
        UserError, match=r"gives 'return_value_of' the id \d+, but the embedding of .* has only \d+ rows"
    ):
        completed(None, base)


def test_all_end_of_sequence_tokens_of_the_model_count_and_a_merge_keeps_them(base, tmp_path, capsys):
    tokenizer, model = loading.load(str(base))
    written = complete_ids(tokenizer, model)
    other = next(token for token in written if token != tokenizer.eos_token_id)
    edited(base, "generation_config.json", eos_token_id=[tokenizer.eos_token_id, other])
    tokenizer, model = loading.load(str(base))
    assert loading.ends_in(model) == [tokenizer.eos_token_id, other]
    encoder = Encoder(tokenizer, 64, ends=loading.ends_in(model))
    assert encoder.eos_ids[:2] == [tokenizer.eos_token_id, other]
    assert encoder.eos_id == tokenizer.eos_token_id, "only one of them is trained"
    adapter = plain_adapter(base, tmp_path / "run" / "adapter")
    merge_lora.main(["--hf_repository", str(adapter)])
    merged = json.loads((adapter.parent / "merged" / "generation_config.json").read_text())
    assert merged["eos_token_id"] == [tokenizer.eos_token_id, other]


def complete_ids(tokenizer, model):
    from codefit.generation import batched

    ids = Encoder(tokenizer, 64).prompt_ids("def f(")
    return batched.generate(model, [ids], max_new_tokens=8, eos_ids=[], pad_id=0)[0].ids


@pytest.mark.parametrize("token", ["▁<EOT>", "<|im_end|>", "<|eot_id|>"])
def test_end_tokens_of_chat_and_infill_formats_count(tiny_tokenizer, tmp_path, token):
    tiny_tokenizer.save_pretrained(tmp_path)
    tokenizer = loading.load_tokenizer(str(with_tokens(tmp_path, [token], True)))
    assert tokenizer.convert_tokens_to_ids(token) in Encoder(tokenizer, 64).eos_ids


# ---------------------------------------------------------------------------------------------- prompts and context


def test_a_prompt_without_room_is_an_error(tiny_tokenizer):
    encoder = Encoder(tiny_tokenizer, 3)
    assert len(encoder.prompt_ids("one two three four five")) == 3
    with pytest.raises(UserError, match=r"at most 3 tokens has no room for text besides its 3 fixed tokens"):
        encoder.prompt_ids("one", "two")
    tiny_tokenizer_with_bos = Encoder(tiny_tokenizer, 1)
    tiny_tokenizer_with_bos.head = [0]
    with pytest.raises(UserError, match="has no room for text"):
        tiny_tokenizer_with_bos.prompt_ids("a long text that was once given whole")


def test_models_with_learned_positions_stay_within_their_context_window(tiny_tokenizer, tmp_path, capsys):
    config = transformers.GPT2Config(**SIZES, n_positions=24, n_embd=32, n_layer=1, n_head=2)
    transformers.GPT2LMHeadModel(config).save_pretrained(tmp_path)
    tiny_tokenizer.save_pretrained(tmp_path)
    long = ["--hf_repository", str(tmp_path), "--prompt", "word " * 200]
    complete.main([*long, "--max_new_tokens", "8"])
    with pytest.raises(UserError, match="the model has a context window of 24 tokens; lower --max_new_tokens"):
        complete.main([*long, "--max_new_tokens", "24"])
    with pytest.raises(UserError, match="has no room for text besides its 3"):
        complete.main([*long, "--suffix", "x", "--max_new_tokens", "22"])


@pytest.mark.parametrize("text", ["a\ud800b", "\udcff"])
def test_half_of_a_surrogate_pair_is_refused(tiny_tokenizer, text):
    with pytest.raises(UserError, match=r"lone surrogate \(not valid Unicode: .*\\ud"):
        Encoder(tiny_tokenizer, 64).prompt_ids(f"def f({text}")


@pytest.mark.parametrize("script", [complete, merge_lora, benchmarking])
@pytest.mark.parametrize("name", ["", "  "])
def test_an_empty_name_is_refused(script, name, capsys):
    with pytest.raises(SystemExit):
        script.main(["--hf_repository", name])
    assert "the name is empty; give a folder or a Hub id" in capsys.readouterr().err


# ---------------------------------------------------------------------------------------------- weights


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(base, value):
    weights = safetensors.torch.load_file(base / "model.safetensors")
    name = next(name for name in weights if "q_proj" in name)
    weights[name][0, 0] = value
    safetensors.torch.save_file(weights, base / "model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match=rf"is damaged: its weight {name} holds NaN or infinite values; download"):
        completed(None, base)


def test_adapter_weights_that_are_not_finite_are_refused(base, tmp_path):
    adapter = plain_adapter(base, tmp_path / "adapter")
    weights = safetensors.torch.load_file(adapter / "adapter_model.safetensors")
    next(iter(weights.values()))[0, 0] = float("nan")
    safetensors.torch.save_file(weights, adapter / "adapter_model.safetensors", {"format": "pt"})
    with pytest.raises(
        UserError, match=r"the adapter .* is damaged: its weight .*lora_A.* holds NaN or infinite values"
    ):
        completed(None, adapter)


def test_an_adapter_pins_the_commit_of_a_base_on_the_hub(base, tmp_path, monkeypatch):
    """The download is replaced; the Hub's cache names a snapshot's folder after its commit."""
    commit = "0123456789" * 4
    cached = shutil.copytree(base, tmp_path / "models--me--base" / "snapshots" / commit)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda repository, file, revision=None: str(cached / file))
    assert hub_files.commit_of("me/base", "main") == commit
    assert hub_files.commit_of(str(base)) is None


def test_a_chat_template_that_does_not_end_is_refused(base):
    tokenizer = transformers.AutoTokenizer.from_pretrained(base)
    from codefit.records import Pair

    pair = Pair("1", "completion", "hello", "x", prompt_format="chat")
    tokenizer.chat_template = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"
    with pytest.raises(UserError, match=r"the chat template of the tokenizer does not end within 5 seconds"):
        Encoder(tokenizer, 64).pair_ids(pair)
    tokenizer.chat_template = "no message"
    with pytest.raises(UserError, match=r"contains a message 0 times, not once"):
        Encoder(tokenizer, 64).pair_ids(pair)
    tokenizer.chat_template = "[{{ messages[0].content }}]" + "word " * 100
    with pytest.raises(UserError, match=r"no room for text besides its"):
        Encoder(tokenizer, 64).pair_ids(pair)


@pytest.mark.parametrize(
    "config",
    [
        transformers.XLNetConfig(vocab_size=600, d_model=32, n_layer=1, n_head=2, d_inner=48, initializer_range=0.3),
        transformers.BertConfig(
            vocab_size=600,
            hidden_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=48,
            initializer_range=0.3,
        ),
    ],
)
def test_a_model_that_sees_what_it_is_to_predict_is_refused(config):
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    with pytest.raises(
        UserError, match=r"m \((xlnet|bert)\) sees the token that it is to predict.* take a causal lang"
    ):
        loading.refuse_looking_ahead(model, "m")


def test_a_causal_bert_is_taken(base, capsys):
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 48}
    config = transformers.BertConfig(vocab_size=600, is_decoder=True, **sizes)
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(base)
    assert completed(capsys, base)


def test_an_architecture_without_a_cache_of_the_usual_kind_is_named(base):
    config = transformers.OpenAIGPTConfig(vocab_size=600, n_embd=32, n_layer=1, n_head=2)
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(base)
    tokenizer, model = loading.load(str(base))
    with pytest.raises(UserError, match=r"architecture openai-gpt cannot write completions in codefit: .* use anot"):
        complete_ids(tokenizer, model)


@pytest.mark.parametrize("kind", ["mamba", "falcon_h1"])
def test_all_linear_leaves_out_what_peft_refuses(kind):
    model = transformers.AutoModelForCausalLM.from_config(SEE_EACH_OTHER[kind])
    adapted = adapters.add_lora(model, r=2, alpha=2, dropout=0, targets="all-linear")
    changed = {
        name.split(".lora_A")[0].rpartition(".")[2] for name, _ in adapted.named_parameters() if "lora_A" in name
    }
    assert "in_proj" in changed
    assert "out_proj" not in changed
