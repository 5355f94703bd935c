#!/usr/bin/env bash
# Train under Slurm, one task a GPU.
#
#   tools/slurm_train.sh PARTITION JOB_NAME CONFIG [arguments of tools/train.py]
#
#   GPUS           GPUs of the whole job, one process each (8)
#   GPUS_PER_NODE  how many of them are on one node (8, or GPUS if that is less)
#   CPUS_PER_TASK  cores of each process, loader workers included (5)
#   GRES           what a node needs (gpu:GPUS_PER_NODE); GRES= for nodes without GPUs
#   SRUN_ARGS      anything else for srun
#   PORT           port of the first node (29500); two jobs on one node need two ports
set -euo pipefail

if [ $# -lt 3 ]; then
    echo "Usage: [GPUS= GPUS_PER_NODE= CPUS_PER_TASK= GRES= SRUN_ARGS= PORT=] $0" \
        "PARTITION JOB_NAME CONFIG [train.py arguments]" >&2
    exit 2
fi
PARTITION=$1 JOB_NAME=$2 CONFIG=$3
shift 3
GPUS=${GPUS:-8}
GPUS_PER_NODE=${GPUS_PER_NODE:-$((GPUS < 8 ? GPUS : 8))}
CPUS_PER_TASK=${CPUS_PER_TASK:-5}
GRES=${GRES-gpu:$GPUS_PER_NODE}
export MASTER_PORT=${PORT:-29500}
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} MKL_NUM_THREADS=${MKL_NUM_THREADS:-1}

TOOLS=$(cd "$(dirname "$0")" && pwd)
# SRUN_ARGS is a list of words on purpose.
# shellcheck disable=SC2086
exec srun --partition="$PARTITION" --job-name="$JOB_NAME" ${GRES:+--gres="$GRES"} \
    --ntasks="$GPUS" --ntasks-per-node="$GPUS_PER_NODE" --cpus-per-task="$CPUS_PER_TASK" \
    --kill-on-bad-exit=1 ${SRUN_ARGS:-} \
    "${PYTHON:-python}" -u "$TOOLS/train.py" "$CONFIG" --launcher slurm "$@"
