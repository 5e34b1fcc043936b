#!/bin/sh
# Docstrings of Apache Airflow's classes from their code, with a simple and a verbose prompt. LoRA of rank 16 with
# dropout 0.05 on the attention projections, 8 accumulation steps, three epochs; chrF and ROUGE-L. Two fifths of the files are the test
# split. Predictions are greedy, then sampled (top-p) with each of SEEDS.
#
#   sh runs/summary.sh                                          meta-llama/Llama-3.2-1B, with a network
#   BASE=data/base PROMPT=384 SOURCE=airflow.tar.gz sh runs/summary.sh --learning_rate 3e-3
#                                                               the embedded base, on a CPU without a network
#   BASE=SmolLM2-135M-Instruct.Q4_1.gguf PROMPT=384 SOURCE=airflow.tar.gz sh runs/summary.sh \
#       --max_steps 120 --max_length 640 --gradient_accumulation_steps 1
#                                                               a GGUF file, on a CPU: docs/models.md says where it is
#
# SOURCE is any source of parse_data.py. Without it, pip downloads the source distribution of Airflow 2.10.5 from PyPI,
# which runs the package's build backend for its metadata. SAMPLE is the number of prompts; OUT is the
# output folder. Further arguments go to train.py.
set -eu
cd "$(dirname "$0")/.."
. runs/took.sh

BASE=${BASE:-meta-llama/Llama-3.2-1B}
OUT=${OUT:-outputs/summary}
PROMPT=${PROMPT:-768}
COMPLETION=${COMPLETION:-192}
SEEDS=${SEEDS:-0 1 2 3 4}
SAMPLE=${SAMPLE:-500}

if [ -z "${SOURCE:-}" ]; then
    SOURCE=$OUT/apache_airflow-2.10.5.tar.gz
    mkdir -p "$OUT"
    python -m pip download --quiet --no-deps --no-binary :all: --dest "$OUT" apache-airflow==2.10.5
fi

python parse_data.py --repository "$SOURCE" --language python --output "$OUT/raw.jsonl"

for format in plain verbose; do
    python preprocess_data.py --input "$OUT/raw.jsonl" --output "$OUT/$format/pairs" --model_name_or_path "$BASE" \
        --task summary --prompt_format $format --max_prompt_tokens "$PROMPT" --max_completion_tokens "$COMPLETION" \
        --test_share 0.4

    python preprocess_data.py --input "$OUT/raw.jsonl" --output "$OUT/$format/pairs" --verify

    python train.py --dataset "$OUT/$format/pairs" --model_name_or_path "$BASE" --output_dir "$OUT/$format/adapter" \
        --lora_r 16 --lora_dropout 0.05 --lora_target_modules q_proj k_proj v_proj o_proj --per_device_train_batch_size 1 \
        --gradient_accumulation_steps 8 "$@"

    python merge_lora.py "$OUT/$format/adapter"

    python benchmarking.py "$OUT/$format/adapter" --max_new_tokens "$COMPLETION" --sample "$SAMPLE" \
        --output_dir "$OUT/$format/benchmark"

    for seed in $SEEDS; do
        python benchmarking.py "$OUT/$format/adapter" --max_new_tokens "$COMPLETION" --sample "$SAMPLE" \
            --temperature 0.7 --top_p 0.9 --generation_seed "$seed" --output_dir "$OUT/$format/drawn-$seed"
    done
done

python -m runs.summary "$OUT"
