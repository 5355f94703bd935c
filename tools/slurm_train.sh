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
#   BATCH=1        submit it with sbatch instead of waiting for it: a job that reaches its time limit or is
#                  preempted is queued again, and goes on where it was
#   SIGNAL         what is sent how many seconds before the time limit (USR1@120): the run saves and ends
set -euo pipefail

if [ $# -lt 3 ]; then
    echo "Usage: [GPUS= GPUS_PER_NODE= CPUS_PER_TASK= GRES= SRUN_ARGS= PORT= BATCH= SIGNAL=] $0" \
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
NODES=(--partition="$PARTITION" --job-name="$JOB_NAME" ${GRES:+--gres="$GRES"}
    --ntasks="$GPUS" --ntasks-per-node="$GPUS_PER_NODE" --cpus-per-task="$CPUS_PER_TASK"
    --signal="${SIGNAL:-USR1@120}")
TRAIN=("${PYTHON:-python}" -u "$TOOLS/train.py" "$CONFIG" --launcher slurm "$@")

# SRUN_ARGS is a list of words on purpose.
# shellcheck disable=SC2086
if [ -z "${BATCH:-}" ]; then
    exec srun "${NODES[@]}" --kill-on-bad-exit=1 ${SRUN_ARGS:-} "${TRAIN[@]}"
elif [ -z "${SLURM_JOB_ID:-}" ]; then
    exec sbatch "${NODES[@]}" --requeue --open-mode=append ${SRUN_ARGS:-} \
        --wrap "exec $(printf '%q ' bash "$TOOLS/slurm_train.sh" "$PARTITION" "$JOB_NAME" "$CONFIG" "$@")"
fi
# In the job, the first time or again; the last --resume of a command line counts.
[ "${SLURM_RESTART_COUNT:-0}" -eq 0 ] || TRAIN+=(--resume)
code=0
srun --kill-on-bad-exit=1 --cpus-per-task="$CPUS_PER_TASK" "${TRAIN[@]}" || code=$?
if [ "$code" -eq 138 ]; then  # saved on USR1, that is, at the time limit
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
