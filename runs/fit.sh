#!/bin/sh
# Fit a model to your own repository and see whether it helped; sizes are chosen for ten minutes on two CPU cores.
#
#   sh runs/fit.sh path/to/project                          with SmolLM2-135M if it is installed, else data/base
#   sh runs/fit.sh path/to/project Qwen/Qwen2.5-Coder-0.5B
#   MINUTES=60 SAMPLE=200 sh runs/fit.sh path/to/project model.gguf --lora_r 32
#
# A repository is a folder, a git repository, a bundle or an archive. Every choice is printed with its reason
# (runs/choose.py makes them); a variable with its name overrides it: LANGUAGE, TASK, PROMPT, TEST_SHARE,
# VALIDATION_SHARE, LEARNING_RATE, STEPS, SAMPLE, GGUF. MINUTES is the time for everything. OUT is the output folder.
# Arguments after the model go to train.py. The same command, run again, continues.
set -eu
[ $# -gt 0 ] || { echo "usage: sh runs/fit.sh PATH [MODEL] [FLAGS OF train.py]" >&2; exit 2; }
here() { # a path that still holds after the change of the folder; any other word unchanged
    if [ -e "$1" ]; then (cd "$(dirname "$1")" && echo "$PWD/$(basename "$1")"); else echo "$1"; fi
}
source=$(here "$1")
shift
model=
case ${1:-} in
"" | -*) ;;
*)
    model=$(here "$1")
    shift
    ;;
esac
OUT=${OUT:-outputs/$(basename "$source")}
cd "$(dirname "$0")/.."
. runs/took.sh

chosen() { # make or read the choices of a step, and set the variables
    python -m runs.choose "$@" "$OUT"
    . "$OUT/chosen-$1.sh"
}

chosen model ${model:+--model "$model"}
chosen source --source "$source"
# shellcheck disable=SC2086  # several languages are several words
python parse_data.py --repository "$source" --language $LANGUAGE --output "$OUT/raw.jsonl"

chosen data --model "$MODEL"
python preprocess_data.py --input "$OUT/raw.jsonl" --output "$OUT/pairs" --model_name_or_path "$MODEL" --task "$TASK" \
    --max_prompt_tokens "$PROMPT" --test_share "$TEST_SHARE" --validation_share "$VALIDATION_SHARE"

chosen training --model "$MODEL"
python train.py --dataset "$OUT/pairs" --model_name_or_path "$MODEL" --output_dir "$OUT/adapter" \
    --learning_rate "$LEARNING_RATE" --max_steps "$STEPS" --max_length 512 --validation_samples 24 \
    --eval_steps 1000 --eval_predictions 0 "$@"

chosen export --model "$MODEL"
# shellcheck disable=SC2086  # GGUF is a flag or nothing
python merge_lora.py "$OUT/adapter" $GGUF
python benchmarking.py "$OUT/adapter" --sample "$SAMPLE" --output_dir "$OUT/benchmark"
python -m runs.finish "$OUT"
