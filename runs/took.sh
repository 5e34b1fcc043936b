#!/bin/sh
# Read by the scripts of this folder: at their end, the time that they took is printed, and after Ctrl-C how to go on.
set -eu
began=$(date +%s)
took() {
    [ $? -eq 0 ] || return 0
    seconds=$(($(date +%s) - began))
    echo "took $((seconds / 60)) min $((seconds % 60)) s in all; run again, finished stages are skipped"
}
trap took EXIT
trap 'echo "stopped; to continue, run this script again with the same words"; exit 130' INT
