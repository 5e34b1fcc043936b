#!/bin/sh
# All stages on data that is already on disk, in under five minutes on two CPU cores: fits the embedded base model to
# the source of PEFT, an installed package that it was never trained on. `make demo` runs this.
set -eu
cd "$(dirname "$0")/.."

out=outputs/demo
source=$(python -c 'import importlib.util; print(importlib.util.find_spec("peft").submodule_search_locations[0])')

# 1. sources -> documents: one record per file, or a line in raw.rejected.jsonl that says why not
python parse_data.py --repository "$source" --language python --output $out/raw.jsonl --overwrite

# 2. documents -> curated pairs, split by file before pairs are built; the base model's tokenizer counts tokens
python preprocess_data.py --input $out/raw.jsonl --language python --output $out/pairs \
    --model_name_or_path data/base --max_prompt_tokens 128 --window_step 64 --test_share 0.1 --overwrite

# 3. pairs -> LoRA adapter, one to three minutes
python train.py --dataset $out/pairs --model_name_or_path data/base --output_dir $out/adapter \
    --gradient_accumulation_steps 2 --max_steps 100 --learning_rate 3e-3 --lora_r 32 --eval_steps 50 \
    --eval_predictions 0 --logging_steps 10 --validation_samples 64 --overwrite

# 4. adapter -> merged model, read back from disk and compared with the adapter
python merge_lora.py --hf_repository $out/adapter --overwrite

# 5. base and adapted model on held-out files: scores with intervals, verdicts, a report to open in a browser
python benchmarking.py --hf_repository $out/adapter --sample 200 --output_dir $out/benchmark --overwrite
