#!/bin/sh
# Adapting to a project's past: how much does fitting a model to a project help with its later files, and how much does
# repository context help instead, or in addition?
#
# The project is PEFT, from its releases on PyPI: the files of the first release are the training split, files added by
# the second are validation, files added by the third are the test. Four models get the same prompts: the base and an
# adapter, each with and without repository context. The packages are read as archives; nothing in them is run.
#
#   sh runs/adaptation.sh                     the embedded base; twenty minutes on one CPU core
#   BASE=SmolLM2-135M-Instruct.Q4_1.gguf sh runs/adaptation.sh     a GGUF file: docs/models.md says where it is
#   BASE=Qwen/Qwen2.5-Coder-0.5B OWN=512 CONTEXT=1024 sh runs/adaptation.sh --max_steps 400
#
# SAMPLE is the number of prompts; OUT is the output folder. Further arguments go to both calls of train.py.
set -eu
cd "$(dirname "$0")/.."
. runs/took.sh

BASE=${BASE:-data/base}
OUT=${OUT:-outputs/adaptation}
# tokens of the prompt's own file, and of repository context
OWN=${OWN:-160}
CONTEXT=${CONTEXT:-256}
SAMPLE=${SAMPLE:-400}
# the days on which the second and the third release were packed
RELEASES="0.10.0 0.14.0 0.21.2"
SECOND=2024-12-06
THIRD=2026-10-01

for release in $RELEASES; do
    python -m pip download --quiet --no-deps --only-binary :all: --dest "$OUT/wheels" "peft==$release"
    python parse_data.py --repository "$OUT/wheels/peft-$release-py3-none-any.whl" --language python \
        --output "$OUT/releases/$release.jsonl"
done
# shellcheck disable=SC2086  # several releases are several words
python -m runs.adaptation history "$OUT" $RELEASES

for context in 0 "$CONTEXT"; do
    folder=$OUT/context-$context
    prompt=$((OWN + context))
    python preprocess_data.py --input "$OUT/history.jsonl" --output "$folder/pairs" --model_name_or_path "$BASE" \
        --split_by time --validation_since $SECOND --test_since $THIRD \
        --max_prompt_tokens "$prompt" --repository_context "$context"
    python preprocess_data.py --output "$folder/pairs" --verify
    python train.py --dataset "$folder/pairs" --model_name_or_path "$BASE" --output_dir "$folder/adapter" \
        --learning_rate 3e-3 --lora_r 32 --per_device_train_batch_size 4 --gradient_accumulation_steps 4 --max_steps 120 \
        --eval_steps 40 --validation_samples 96 --eval_predictions 0 "$@"
    python benchmarking.py "$folder/adapter" --sample "$SAMPLE" --output_dir "$folder/benchmark"
done

python -m runs.adaptation compare "$OUT" "$CONTEXT"
