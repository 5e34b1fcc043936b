#!/bin/sh
# Read by the scripts of this folder: when they end, the time that they took is printed.
set -eu
began=$(date +%s)
took() {
    [ $? -eq 0 ] || return 0
    seconds=$(($(date +%s) - began))
    echo "took $((seconds / 60)) min $((seconds % 60)) s in all; run again, finished stages are skipped"
}
trap took EXIT
