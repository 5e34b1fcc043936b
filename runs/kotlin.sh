#!/bin/sh
# Fit a model to Kotlin: JetBrains/kotlin, sliding-window pairs, LoRA, merge, scores on held-out files and CodeXGLUE.
# Python from installed packages is replayed to prevent forgetting, and forgetting is measured.
#
#   sh runs/kotlin.sh                                        microsoft/phi-1_5 in 4 bits, on a GPU with a network
#   BASE=data/base SOURCE=kotlin.bundle BENCHMARKS=heldout sh runs/kotlin.sh --full_finetuning
#                                                            the embedded base, on a CPU without a network
#   BASE=SmolLM2-135M-Instruct.Q4_1.gguf PROMPT=128 SOURCE=kotlin.bundle BENCHMARKS=heldout SAMPLE=120 sh runs/kotlin.sh \
#       --max_steps 60 --learning_rate 5e-4 --max_length 512 --per_device_train_batch_size 2 --gradient_accumulation_steps 2
#                                                            a GGUF file, on a CPU: docs/models.md says where it is
#
# SOURCE is any source of parse_data.py; SAMPLE is the number of prompts; OUT is the output folder. Further arguments
# go to train.py.
set -eu
cd "$(dirname "$0")/.."
. runs/took.sh

BASE=${BASE:-microsoft/phi-1_5}
SOURCE=${SOURCE:-JetBrains/kotlin}
OUT=${OUT:-outputs/kotlin}
PROMPT=${PROMPT:-512}
BENCHMARKS=${BENCHMARKS:-heldout codexglue}
SAMPLE=${SAMPLE:-500}
installed=$(python -c 'import importlib.util; print(importlib.util.find_spec("transformers").submodule_search_locations[0])')

python parse_data.py --repository "$SOURCE" --language kotlin --output "$OUT/raw.jsonl"
python parse_data.py --repository "$installed" "$installed/../datasets" "$installed/../accelerate" "$installed/../huggingface_hub" \
    --language python --output "$OUT/python.jsonl"

python preprocess_data.py --input "$OUT/raw.jsonl" --output "$OUT/pairs" --model_name_or_path "$BASE" \
    --max_prompt_tokens "$PROMPT"
python preprocess_data.py --output "$OUT/pairs" --verify
python preprocess_data.py --input "$OUT/python.jsonl" --output "$OUT/python-pairs" --model_name_or_path "$BASE" \
    --max_prompt_tokens "$PROMPT"

python train.py --dataset "$OUT/pairs" --replay "$OUT/python-pairs" --replay_ratio 0.2 \
    --model_name_or_path "$BASE" --output_dir "$OUT/adapter" "$@"

if [ -f "$OUT/adapter/adapter_config.json" ]; then # --full_finetuning leaves a complete model: nothing to merge
    python merge_lora.py "$OUT/adapter"
fi

# shellcheck disable=SC2086  # several benchmarks are several words
python benchmarking.py "$OUT/adapter" --model_name_or_path "$BASE" --benchmark $BENCHMARKS \
    --sample "$SAMPLE" --output_dir "$OUT/benchmark"
