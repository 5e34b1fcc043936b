#!/bin/sh
# Does the order of the documents matter? Trains a small model from scratch in random order and with each curriculum,
# for several seeds, with the same documents, tokenizer flags, steps and rows, and prints a table with intervals over
# the seeds. The documents are Python files of 1 to 100 KB from installed packages, formatted, without duplicates.
#
#   sh runs/curricula.sh
#   SEEDS="0 1 2 3 4" BY=entropy STEPS=300 sh runs/curricula.sh
#
# A second table is about orders by the loss that the model itself has on the documents when an epoch begins. They need
# several epochs, so they are compared with a random order on fewer documents.
#
# STEPS is the length of the search and of every run of the first table, EPOCHS that of every run of the second.
# --max_steps N is another way to say STEPS=N, and --num_train_epochs N to say EPOCHS=N; all other arguments go to every
# call of train.py as they are.
#
# A search before these runs shows how much the learning rate matters in comparison; TRIALS=0 leaves it out. SAMPLE is
# the number of documents of a validation; OUT is the output folder.
set -eu
cd "$(dirname "$0")/.."
. runs/took.sh

OUT=${OUT:-outputs/curricula}
SEEDS=${SEEDS:-0 1 2}
BY=${BY:-rarity}
STEPS=${STEPS:-100}
EPOCHS=${EPOCHS:-3}
TRIALS=${TRIALS:-4}
SAMPLE=${SAMPLE:-128}

left=$# # words that were not looked at yet; those that stay are put behind the others
while [ "$left" -gt 0 ]; do
    case $1 in
        --max_steps=*) STEPS=${1#*=} ;;
        --num_train_epochs=*) EPOCHS=${1#*=} ;;
        --max_steps | --num_train_epochs)
            [ "$left" -gt 1 ] || { echo "$1 needs a number" >&2; exit 2; }
            if [ "$1" = --max_steps ]; then STEPS=$2; else EPOCHS=$2; fi
            left=$((left - 1))
            shift
            ;;
        *) set -- "$@" "$1" ;;
    esac
    left=$((left - 1))
    shift
done

installed=$(python -c 'import importlib.util; print(importlib.util.find_spec("datasets").submodule_search_locations[0])')/..

python parse_data.py --repository "$installed/datasets" "$installed/accelerate" "$installed/huggingface_hub" \
    "$installed/peft" --language python --min_bytes 1000 --max_bytes 100000 --output "$OUT/raw.jsonl"
python preprocess_data.py --input "$OUT/raw.jsonl" --task document --format --output "$OUT/documents"
python parse_data.py --repository "$installed/accelerate" --language python --min_bytes 1000 --max_bytes 100000 \
    --output "$OUT/renewed/raw.jsonl"
python preprocess_data.py --input "$OUT/renewed/raw.jsonl" --task document --format --output "$OUT/renewed/documents"

train() {
    documents=$1
    shift
    python train.py --from_scratch --dataset "$documents" --vocab_size 4096 --hidden_size 128 --num_hidden_layers 3 \
        --intermediate_size 512 --max_length 384 --per_device_train_batch_size 8 --gradient_accumulation_steps 1 \
        --learning_rate 3e-3 --weight_decay 0.1 --warmup_steps 0.1 --eval_steps 25 --logging_steps 10 \
        --validation_samples "$SAMPLE" "$@"
}

if [ "$TRIALS" -gt 0 ]; then
    train "$OUT/documents" --output_dir "$OUT/search" --trials "$TRIALS" --max_steps "$STEPS" \
        --search learning_rate=3e-4..1e-2 weight_decay=0.02,0.1 "$@"
fi

for seed in $SEEDS; do
    train "$OUT/documents" --output_dir "$OUT/random-$seed" --seed "$seed" --max_steps "$STEPS" "$@"
    for curriculum in sequential reversed sliding_window hybrid growing_pool growing_pool_reversed; do
        train "$OUT/documents" --output_dir "$OUT/$curriculum-$seed" --seed "$seed" --max_steps "$STEPS" \
            --curriculum "$curriculum" --curriculum_by "$BY" "$@"
    done

    train "$OUT/renewed/documents" --output_dir "$OUT/renewed/random-$seed" --seed "$seed" --num_train_epochs "$EPOCHS" "$@"
    for curriculum in sequential reversed; do
        train "$OUT/renewed/documents" --output_dir "$OUT/renewed/$curriculum-$seed" --seed "$seed" \
            --num_train_epochs "$EPOCHS" --curriculum "$curriculum" --curriculum_by own_loss "$@"
    done
done

python -m runs.curricula "$OUT"
python -m runs.curricula "$OUT/renewed"
