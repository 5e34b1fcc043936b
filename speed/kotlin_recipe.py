"""The recipe of an earlier Kotlin study in small: a baseline for runs/kotlin.sh at equal processor time on a CPU.

    python -m speed.kotlin_recipe --dataset outputs/kotlin/pairs --model_name_or_path data/base \\
        --seconds 1200 --output_dir outputs/kotlin/recipe
    python benchmarking.py outputs/kotlin/recipe --dataset outputs/kotlin/pairs \\
        --output_dir outputs/kotlin/recipe-benchmark

What it does as the study did: each row is padded to 512 tokens; prompt and completion are one text and both in the
loss; the collator masks every pad token, and as pad is end-of-sequence, the end is never trained; LoRA of rank 16 on
five modules; learning rate 2e-4 with a cosine. What it takes from codefit: the base model and the pairs. A few steps
are timed first, so that the schedule ends when the given seconds are over. Processor time is the sum over all threads;
with one thread on a quiet CPU it is the wall time.
"""

import itertools
import random
import time
from pathlib import Path
from typing import Any

from codefit import cli, console, records
from codefit.modeling import hardware, loading
from codefit.records import Pair

MODULES = ["q_proj", "k_proj", "v_proj", "o_proj", "up_proj"]
ROW_TOKENS = 512
BATCH = 8
TIMED_STEPS = 8


def rows(dataset: Path, tokenizer: Any, count: int, seed: int) -> list[dict[str, Any]]:
    """Return tokenised rows in a shuffled order: prompt, completion and end-of-sequence, padded to 512 tokens."""
    pairs = list(records.read_jsonl(dataset / "train.jsonl", Pair))
    random.Random(seed).shuffle(pairs)
    texts = [pair.prompt + pair.completion + tokenizer.eos_token for pair in pairs[:count]]
    options = {"max_length": ROW_TOKENS, "truncation": True, "padding": "max_length"}
    return [tokenizer(text, **options) for text in console.progress(texts, "encode", unit="row")]


def train(model: Any, tokenizer: Any, data: list[dict[str, Any]], steps: int, output: Path) -> float:
    """Train for a number of steps with the plain Trainer and return the processor seconds that took."""
    import transformers

    options = transformers.TrainingArguments(
        output_dir=str(output),
        per_device_train_batch_size=BATCH,
        max_steps=steps,
        learning_rate=2e-4,
        lr_scheduler_type="cosine",
        logging_steps=max(1, steps // 20),
        save_strategy="no",
        report_to=[],
        use_cpu=hardware.device().type == "cpu",
        bf16=str(hardware.compute_dtype()) == "torch.bfloat16",
    )
    collator = transformers.DataCollatorForLanguageModeling(tokenizer, mlm=False)
    trainer = transformers.Trainer(model=model, args=options, train_dataset=data, data_collator=collator)
    started = time.process_time()
    trainer.train()
    return time.process_time() - started


def adapter(name: str, seed: int) -> Any:
    """Return the base with a new adapter of the study's shape."""
    import peft
    import torch

    torch.manual_seed(seed)
    config = peft.LoraConfig(r=16, lora_alpha=16, lora_dropout=0.05, target_modules=MODULES, task_type="CAUSAL_LM")
    return peft.get_peft_model(loading.load_model(name), config)


def main() -> None:
    parser = cli.Parser(__doc__)
    parser.add_argument("--dataset", type=Path, required=True, help="folder of preprocess_data.py")
    parser.add_argument("--model_name_or_path", default="data/base", help="base model")
    parser.add_argument(
        "--seconds", type=cli.number(float, 1), required=True, help="processor time of the run it is compared with"
    )
    parser.add_argument("--output_dir", type=Path, required=True, help="folder for the adapter")
    parser.add_argument("--seed", type=cli.number(int, 0), default=0, help="seed of the order and of the adapter")
    args = parser.parse_args()

    tokenizer = loading.load_tokenizer(args.model_name_or_path)
    tokenizer.pad_token = tokenizer.eos_token
    warm_up = rows(args.dataset, tokenizer, BATCH * TIMED_STEPS, args.seed)
    a_step = train(adapter(args.model_name_or_path, args.seed), tokenizer, warm_up, TIMED_STEPS, args.output_dir)
    steps = int(args.seconds / (a_step / TIMED_STEPS))
    print(f"{a_step / TIMED_STEPS:.2f} s per step: {steps} steps in {args.seconds:.0f} s")

    data = rows(args.dataset, tokenizer, BATCH * steps, args.seed)
    data = list(itertools.islice(itertools.cycle(data), BATCH * steps))
    model = adapter(args.model_name_or_path, args.seed)
    seconds = train(model, tokenizer, data, steps, args.output_dir)
    model.peft_config["default"].base_model_name_or_path = args.model_name_or_path
    model.save_pretrained(args.output_dir)
    tokenizer.save_pretrained(args.output_dir)
    print(f"trained {steps} steps of {BATCH} rows in {seconds:.0f} s; the adapter is in {args.output_dir}")


if __name__ == "__main__":
    cli.run(main)
