#!/bin/sh
# Line prediction on documentation code: FastAPI's pages and the examples they include. A prompt is the 15 lines before
# the target line and the 10 lines after it. LoRA of rank 8. The split is 80/10/10 by folder, because the examples of
# one page are variants of each other in one folder; SPLIT_BY=file would divide them.
#
#   sh runs/fastapi.sh                                          Salesforce/codegen-350M-mono, with a network
#   BASE=data/base FORMAT=plain PROMPT=384 SOURCE=fastapi.bundle sh runs/fastapi.sh --learning_rate 2e-3
#                                                               the embedded base, on a CPU without a network
#   BASE=SmolLM2-135M-Instruct.Q4_1.gguf PROMPT=384 SOURCE=fastapi.bundle SAMPLE=120 sh runs/fastapi.sh --max_steps 60
#                                                               a GGUF file, on a CPU: docs/models.md says where it is
#
# CodeGen has no fill-in-the-middle sentinels: FORMAT=verbose shows it the lines after the target line as a comment
# above. A base with sentinels takes FORMAT=plain. Loss, gradient norm and accuracy on label tokens are plotted in
# adapter/loss.png. SOURCE is any source of parse_data.py; SAMPLE is the number of prompts; OUT is the output
# folder. With CONTEXT, such as 256, base and adapted model are also asked with that many tokens of other documentation
# examples before each prompt (docs/adaptation.md). Further arguments go to train.py.
set -eu
cd "$(dirname "$0")/.."
. runs/took.sh

BASE=${BASE:-Salesforce/codegen-350M-mono}
SOURCE=${SOURCE:-fastapi/fastapi}
FORMAT=${FORMAT:-verbose}
OUT=${OUT:-outputs/fastapi}
PROMPT=${PROMPT:-640}
SAMPLE=${SAMPLE:-500}
SPLIT_BY=${SPLIT_BY:-directory}
CONTEXT=${CONTEXT:-0}

python parse_data.py --repository "$SOURCE" --language python --code_blocks --output "$OUT/raw.jsonl"

python preprocess_data.py --input "$OUT/raw.jsonl" --output "$OUT/pairs" --model_name_or_path "$BASE" \
    --task line --lines_before 15 --lines_after 10 --prompt_format "$FORMAT" --max_prompt_tokens "$PROMPT" \
    --max_pairs_per_file 1000 --split_by "$SPLIT_BY" --validation_share 0.1 --test_share 0.1

python preprocess_data.py --input "$OUT/raw.jsonl" --output "$OUT/pairs" --verify

python train.py --dataset "$OUT/pairs" --model_name_or_path "$BASE" --output_dir "$OUT/adapter" \
    --lora_r 8 --lora_alpha 32 "$@"

python merge_lora.py "$OUT/adapter"

python benchmarking.py "$OUT/adapter" --sample "$SAMPLE" --repository_context "$CONTEXT" \
    --output_dir "$OUT/benchmark"
