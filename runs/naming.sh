#!/bin/sh
# Names of Python and Java functions from their code: LoRA and QLoRA, each merged and compared with the base. Exact
# match, precision, recall and F1 of the parts of names; benchmark/naming-errors-heldout.md lists the errors.
#
#   sh runs/naming.sh                                           codellama/CodeLlama-7b-Instruct-hf, on a GPU with a network
#   BASE=data/base FORMAT=plain PROMPT=192 SOURCE="airflow.tar.gz kotlin.bundle" sh runs/naming.sh --learning_rate 3e-3
#                                                               the embedded base, on a CPU without a network
#   BASE=SmolLM2-135M-Instruct.Q4_1.gguf PROMPT=192 SOURCE="airflow.tar.gz kotlin.bundle" SAMPLE=120 sh runs/naming.sh \
#       --max_steps 60                                          a GGUF file with a chat template, on a CPU: docs/models.md
#
# SOURCE is any source of parse_data.py, or several separated by spaces. A base without a chat template takes
# FORMAT=plain. SAMPLE is the number of prompts; OUT is the output folder. Further arguments go to train.py.
set -eu
cd "$(dirname "$0")/.."
. runs/took.sh

BASE=${BASE:-codellama/CodeLlama-7b-Instruct-hf}
SOURCE=${SOURCE:-apache/airflow JetBrains/kotlin}
FORMAT=${FORMAT:-chat}
OUT=${OUT:-outputs/naming}
PROMPT=${PROMPT:-512}
SAMPLE=${SAMPLE:-500}

# shellcheck disable=SC2086  # several sources are several words
python parse_data.py --repository $SOURCE --language python java --output "$OUT/raw.jsonl"

python preprocess_data.py --input "$OUT/raw.jsonl" --output "$OUT/pairs" --model_name_or_path "$BASE" \
    --task naming --prompt_format "$FORMAT" --max_prompt_tokens "$PROMPT"

python preprocess_data.py --input "$OUT/raw.jsonl" --output "$OUT/pairs" --verify

python train.py --dataset "$OUT/pairs" --model_name_or_path "$BASE" --output_dir "$OUT/adapters/lora" \
    --no-load_in_4bit "$@"

python train.py --dataset "$OUT/pairs" --model_name_or_path "$BASE" --output_dir "$OUT/adapters/qlora" \
    --load_in_4bit "$@"

python merge_lora.py "$OUT/adapters/lora" --output_dir "$OUT/lora"
python merge_lora.py "$OUT/adapters/qlora" --output_dir "$OUT/qlora"

python benchmarking.py "$OUT/lora" "$OUT/qlora" --sample "$SAMPLE" --max_new_tokens 24 \
    --output_dir "$OUT/benchmark"
