#!/bin/sh
# Fit a model to Kotlin: JetBrains/kotlin, sliding-window pairs, LoRA, merge, scores on held-out files.
#
#   sh runs/kotlin.sh                                        microsoft/phi-1_5 in 4 bits, on a GPU with a network
#   BASE=data/base SOURCE=kotlin.bundle sh runs/kotlin.sh    the embedded base, on a CPU without a network
#
# SOURCE is whatever parse_data.py reads; OUT is where everything goes. Further arguments go to train.py.
set -eu
cd "$(dirname "$0")/.."

BASE=${BASE:-microsoft/phi-1_5}
SOURCE=${SOURCE:-JetBrains/kotlin}
OUT=${OUT:-outputs/kotlin}
PROMPT=${PROMPT:-512}

python parse_data.py --repository "$SOURCE" --language kotlin --output "$OUT/raw.jsonl"

python preprocess_data.py --input "$OUT/raw.jsonl" --output "$OUT/pairs" --model_name_or_path "$BASE" \
    --max_prompt_tokens "$PROMPT"

python preprocess_data.py --input "$OUT/raw.jsonl" --output "$OUT/pairs" --verify

python train.py --dataset "$OUT/pairs" --model_name_or_path "$BASE" --output_dir "$OUT/adapter" "$@"

python merge_lora.py --hf_repository "$OUT/adapter"

python benchmarking.py --hf_repository "$OUT/adapter" --output_dir "$OUT/benchmark"
