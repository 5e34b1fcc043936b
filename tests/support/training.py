"""Small models of several architectures, samples for them, and the arguments of a small run."""

import numpy as np
import torch
import transformers

import train
from codefit.encoding import Sample
from codefit.training import packing
from codefit.training.settings import of_flags
from codefit.training.trainer import CodeTrainer

VOCABULARY = 97
SHAPE = {"vocab_size": VOCABULARY, "bos_token_id": None, "eos_token_id": 0, "pad_token_id": 0}
SIZE = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
CONFIGS = {
    "llama": transformers.LlamaConfig(**SHAPE, **SIZE, num_key_value_heads=2),
    "qwen2": transformers.Qwen2Config(**SHAPE, **SIZE, num_key_value_heads=2),
    "phi": transformers.PhiConfig(**SHAPE, **SIZE),
    "codegen": transformers.CodeGenConfig(
        **SHAPE, n_embd=32, n_layer=2, n_head=4, rotary_dim=4, n_positions=128, resid_pdrop=0, embd_pdrop=0
    ),
    "starcoder2": transformers.Starcoder2Config(**SHAPE, **SIZE, num_key_value_heads=2),
    "gpt_neox": transformers.GPTNeoXConfig(**SHAPE, **SIZE),
}


def samples_of(lengths, seed=0):
    draw = np.random.default_rng(seed)
    return [Sample(draw.integers(1, VOCABULARY, n).astype(np.int32), n // 2, 0, n) for n in lengths]


def rows_of(samples, row_tokens=64):
    return packing.PackedRows(samples, row_tokens, pad_id=0)


def trainer_of(model, samples, folder, **options):
    arguments = {"max_steps": 4, "per_device_train_batch_size": 2, "report_to": [], "logging_steps": 1, "use_cpu": True}
    arguments |= {"remove_unused_columns": False, "disable_tqdm": True, "save_strategy": "no", "learning_rate": 1e-2}
    return CodeTrainer(
        model=model,
        args=transformers.TrainingArguments(output_dir=str(folder), **(arguments | options)),
        train_dataset=rows_of(samples),
        eval_dataset=rows_of(samples[:3]),
        data_collator=packing.Collator(rows_of(samples), SIZE["hidden_size"]),
    )


def settings_of(*words):
    """Return the settings of a command of train.py."""
    return of_flags(vars(train.build_parser().parse_args([*map(str, words)])))


def command(tiny_base, prepared, output, *more):
    """Return the arguments of a small run."""
    fixed = ["--model_name_or_path", str(tiny_base), "--dataset", str(prepared), "--output_dir", str(output)]
    small = ["--max_length", "512", "--max_prompt_tokens", "128", "--per_device_train_batch_size", "2"]
    pace = ["--gradient_accumulation_steps", "1", "--learning_rate", "1e-2", "--logging_steps", "1"]
    return [*fixed, *small, *pace, *more]


@torch.no_grad()
def nats_alone(model, samples):
    """Return the summed loss of samples, one forward pass each from full logits, and the number of labels."""
    nats = labels = 0.0
    for sample in samples:
        ids = torch.from_numpy(sample.ids).long()
        logits = model(input_ids=ids[None], use_cache=False).logits[0, sample.start - 1 : -1]
        nats += float(torch.nn.functional.cross_entropy(logits.float(), ids[sample.start :], reduction="sum"))
        labels += len(ids) - sample.start
    return nats, labels
