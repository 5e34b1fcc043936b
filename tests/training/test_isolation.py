"""A model is tried before it is trained: where packed samples would see each other, a row holds one of them."""

import pytest
import torch
import transformers

import train
from codefit.training import isolation, packing
from codefit.training.trainer import CodeTrainer
from tests.support.training import SIZE, VOCABULARY, command, samples_of

HEADS = {"vocab_size": VOCABULARY, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
WIDE = {**HEADS, "intermediate_size": 48}
HYBRID = {**WIDE, "num_key_value_heads": 2}
KINDS = transformers
ISOLATE = {
    "gpt2": KINDS.GPT2Config(vocab_size=VOCABULARY, n_embd=32, n_layer=2, n_head=4),
    "gpt_bigcode": KINDS.GPTBigCodeConfig(vocab_size=VOCABULARY, n_embd=32, n_layer=2, n_head=4),
    "gpt_neox": KINDS.GPTNeoXConfig(**WIDE),
    "gemma3": KINDS.Gemma3TextConfig(**HYBRID, head_dim=8),
    "llama": KINDS.LlamaConfig(**WIDE),
    "mistral, sliding window": KINDS.MistralConfig(**HYBRID, sliding_window=4),
    "mixtral": KINDS.MixtralConfig(**HYBRID, num_local_experts=2),
    "phi": KINDS.PhiConfig(**WIDE),
}
SEE_EACH_OTHER = {
    "bloom": KINDS.BloomConfig(vocab_size=VOCABULARY, hidden_size=32, n_layer=2, n_head=4),
    "biogpt": KINDS.BioGptConfig(**WIDE, max_position_embeddings=128),
    "falcon": KINDS.FalconConfig(**HEADS, alibi=True),
    "gpt_oss": KINDS.GptOssConfig(**{**HYBRID, "head_dim": 8, "num_local_experts": 2, "num_experts_per_tok": 1}),
    "granitemoehybrid": KINDS.GraniteMoeHybridConfig(
        **HYBRID, shared_intermediate_size=48, mamba_n_heads=8, mamba_d_head=8, mamba_d_state=8, mamba_n_groups=1,
        layer_types=["mamba", "attention"], num_local_experts=0,
    ),
    "jamba": KINDS.JambaConfig(
        **HYBRID, attn_layer_period=2, attn_layer_offset=1, num_experts=2, mamba_d_state=8, expert_layer_offset=1
    ),
    "lfm2": KINDS.Lfm2Config(**HYBRID, layer_types=["conv", "full_attention"]),
    "mamba": KINDS.MambaConfig(vocab_size=VOCABULARY, hidden_size=32, num_hidden_layers=2, state_size=8),
    "mamba2": KINDS.Mamba2Config(
        vocab_size=VOCABULARY, hidden_size=32, num_hidden_layers=2, state_size=8, num_heads=8, head_dim=8, n_groups=1,
        chunk_size=8,
    ),
    "mpt": KINDS.MptConfig(vocab_size=VOCABULARY, d_model=32, n_layers=2, n_heads=4),
    "opt": KINDS.OPTConfig(**HEADS, ffn_dim=48, word_embed_proj_dim=32, max_position_embeddings=128),
    "qwen3_next": KINDS.Qwen3NextConfig(
        **HYBRID, head_dim=8, linear_num_value_heads=4, linear_num_key_heads=2, linear_key_head_dim=8,
        linear_value_head_dim=8, num_experts=2, num_experts_per_tok=1, moe_intermediate_size=16,
        shared_expert_intermediate_size=16, layer_types=["linear_attention", "full_attention"],
    ),
    "recurrent_gemma": KINDS.RecurrentGemmaConfig(
        **{**WIDE, "num_hidden_layers": 3}, lru_width=32, attention_window_size=32
    ),
    "rwkv": KINDS.RwkvConfig(vocab_size=VOCABULARY, hidden_size=32, num_hidden_layers=2, attention_hidden_size=32),
    "xglm": KINDS.XGLMConfig(vocab_size=VOCABULARY, d_model=32, num_layers=2, attention_heads=4, ffn_dim=48),
}  # fmt: skip
LENGTHS = [17, 23, 9, 40, 12, 31]


def made(config, shaken=0.0):
    """Return a model with random weights; shaken, they are large enough that what a token sees changes its loss."""
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim > 1:
                weight.add_(torch.randn_like(weight) * shaken)
    return model


@torch.no_grad()
def nats_alone(model, samples):
    """Return the summed loss of samples, one forward pass each, and the number of labels."""
    nats = labels = 0.0
    for sample in samples:
        ids = torch.from_numpy(sample.ids).long()
        logits = model(input_ids=ids[None], use_cache=False).logits[0, sample.start - 1 : -1]
        nats += float(torch.nn.functional.cross_entropy(logits.float(), ids[sample.start :], reduction="sum"))
        labels += len(ids) - sample.start
    return nats, labels


@torch.no_grad()
def nats_in_rows(model, samples, folder, *, isolates):
    """Return the loss of the trainer over the same samples."""
    rows = packing.PackedRows(samples, 64, pad_id=0, isolates=isolates)
    options = transformers.TrainingArguments(str(folder), max_steps=1, report_to=[], use_cpu=True)
    collator = packing.Collator(rows, SIZE["hidden_size"])
    trainer = CodeTrainer(model=model, args=options, train_dataset=rows, eval_dataset=rows, data_collator=collator)
    return float(trainer.compute_loss(model, collator(list(rows)), num_items_in_batch=torch.tensor(1)))


@pytest.mark.parametrize("name", [*ISOLATE, *SEE_EACH_OTHER])
def test_the_trial_tells_who_keeps_samples_apart_and_the_loss_is_that_of_samples_alone(name, tmp_path, capsys):
    model, samples = made((ISOLATE | SEE_EACH_OTHER)[name], shaken=0.1), samples_of(LENGTHS)
    together = isolation.may_pack(model)
    assert together == (name in ISOLATE)
    note = f"note: samples in one row would see each other in this model ({model.config.model_type}): one a row\n"
    assert capsys.readouterr().out == ("" if together else note)
    alone, labels = nats_alone(model, samples)
    assert nats_in_rows(model, samples, tmp_path, isolates=together) == pytest.approx(alone, rel=1e-5)
    if not together:
        packed = nats_in_rows(model, samples, tmp_path, isolates=True)
        assert abs(packed - alone) / labels > 1e-5, "packed, the loss is another one"


@pytest.mark.parametrize("name", [*ISOLATE, *SEE_EACH_OTHER])
def test_the_smallest_weights_and_16_bits_are_told_too(name):
    model = made((ISOLATE | SEE_EACH_OTHER)[name])
    assert isolation.isolates(model) == (name in ISOLATE)
    assert isolation.isolates(model.to(torch.bfloat16)) == (name in ISOLATE)


def test_a_model_goes_on_as_it_was():
    model = made(ISOLATE["llama"]).train()
    isolation.isolates(model)
    assert model.training


def test_one_sample_a_row_has_rows_of_one_sample():
    samples = samples_of(LENGTHS)
    rows = packing.PackedRows(samples, 64, pad_id=0, isolates=False)
    assert sorted(len(row[0].ids) for row in rows) == sorted(LENGTHS)
    assert {len(row) for row in rows} == {1}
    rows.fill_up(4)
    batch = packing.Collator(rows, SIZE["hidden_size"])(list(rows)[4:])
    assert batch["input_ids"].shape == (2, max(len(row[0].ids) for row in list(rows)[4:6]))
    assert packing.Collator(rows, SIZE["hidden_size"])([[]])["input_ids"].shape == (1, 1)


def test_a_run_says_that_it_does_not_pack(tiny_base, prepared, tmp_path, capsys):
    tokenizer = transformers.AutoTokenizer.from_pretrained(tiny_base)
    special = {"eos_token_id": tokenizer.eos_token_id, "bos_token_id": None}
    made(KINDS.FalconConfig(**{**HEADS, "vocab_size": len(tokenizer)}, alibi=True, **special)).save_pretrained(
        tmp_path / "falcon"
    )
    tokenizer.save_pretrained(tmp_path / "falcon")
    more = ["--max_steps", "2", "--no-load_in_4bit", "--eval_predictions", "0"]
    train.main(command(tmp_path / "falcon", prepared, tmp_path / "out", *more))
    printed = capsys.readouterr().out
    assert "samples in one row would see each other in this model (falcon)" in printed
    assert (tmp_path / "out" / "adapter_model.safetensors").is_file()
