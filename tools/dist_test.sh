#!/usr/bin/env bash
# Test with several processes: one a GPU, or a share of the cores each where there is no GPU.
#
#   tools/dist_test.sh CONFIG CHECKPOINT GPUS [arguments of tools/test.py]
#
# GPUS is the number of processes on this machine. With several machines, the same command runs on
# each of them, and these variables say which is which:
#   NNODES       number of machines (1)
#   NODE_RANK    number of this machine, from 0 (0)
#   MASTER_ADDR  address of machine 0 (127.0.0.1)
#   PORT         a free port on machine 0 (29500); two runs on one machine need two ports
# OMP_NUM_THREADS is the number of threads of each process (cores / GPUS).
set -euo pipefail

if [ $# -lt 3 ]; then
    echo "Usage: [NNODES= NODE_RANK= MASTER_ADDR= PORT=] $0 CONFIG CHECKPOINT GPUS [test.py arguments]" >&2
    exit 2
fi
CONFIG=$1 CHECKPOINT=$2 GPUS=$3
shift 3
case "$GPUS" in
    '' | *[!0-9]* | 0)
        echo "$0: GPUS is '$GPUS', expected the number of processes on this machine." >&2
        exit 2 ;;
esac

TOOLS=$(cd "$(dirname "$0")" && pwd)
exec "${PYTHON:-python}" "$TOOLS/dist_run.py" \
    --nnodes "${NNODES:-1}" --node_rank "${NODE_RANK:-0}" --nproc_per_node "$GPUS" \
    --master_addr "${MASTER_ADDR:-127.0.0.1}" --master_port "${PORT:-29500}" \
    "$TOOLS/test.py" "$CONFIG" "$CHECKPOINT" --launcher pytorch "$@"
