#!/bin/sh
# Line prediction on the code of a documentation: FastAPI's pages and the examples they include; every line is asked
# with the 15 lines before it and the 10 behind it. LoRA of rank 8; 80 % train, 10 % validate, 10 % test: of the folders,
# since the examples of a documentation come in variants, and those of one page lie in one folder. SPLIT_BY=file divides them.
#
#   sh runs/fastapi.sh                                          Salesforce/codegen-350M-mono, with a network
#   BASE=data/base FORMAT=plain PROMPT=384 SOURCE=fastapi.bundle sh runs/fastapi.sh --learning_rate 2e-3
#                                                               the embedded base, on a CPU without a network
#   BASE=SmolLM2-135M-Instruct.Q4_1.gguf PROMPT=384 SOURCE=fastapi.bundle SAMPLE=120 sh runs/fastapi.sh --max_steps 60
#                                                               a GGUF file, on a CPU: docs/models.md says where it is
#
# CodeGen knows no fill-in-the-middle: FORMAT=verbose shows it the lines behind as a comment above. A base with sentinels
# takes FORMAT=plain. The curves of loss, gradient norm and accuracy of the trained tokens are in adapter/loss.png.
# SOURCE is whatever parse_data.py reads; OUT is where everything goes. Further arguments go to train.py.
set -eu
cd "$(dirname "$0")/.."

BASE=${BASE:-Salesforce/codegen-350M-mono}
SOURCE=${SOURCE:-fastapi/fastapi}
FORMAT=${FORMAT:-verbose}
OUT=${OUT:-outputs/fastapi}
PROMPT=${PROMPT:-640}
SAMPLE=${SAMPLE:-500}
SPLIT_BY=${SPLIT_BY:-directory}

python parse_data.py --repository "$SOURCE" --language python --code_blocks --output "$OUT/raw.jsonl"

python preprocess_data.py --input "$OUT/raw.jsonl" --output "$OUT/pairs" --model_name_or_path "$BASE" \
    --task line --lines_before 15 --lines_after 10 --prompt_format "$FORMAT" --max_prompt_tokens "$PROMPT" \
    --max_pairs_per_file 1000 --split_by "$SPLIT_BY" --validation_share 0.1 --test_share 0.1

python preprocess_data.py --input "$OUT/raw.jsonl" --output "$OUT/pairs" --verify

python train.py --dataset "$OUT/pairs" --model_name_or_path "$BASE" --output_dir "$OUT/adapter" \
    --lora_r 8 --lora_alpha 32 "$@"

python merge_lora.py --hf_repository "$OUT/adapter"

python benchmarking.py --hf_repository "$OUT/adapter" --sample "$SAMPLE" --output_dir "$OUT/benchmark"
