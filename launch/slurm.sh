#!/usr/bin/env bash
# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
#
# A run on GPUs under Slurm: one task for each GPU, on one node or several.
#
#   sbatch [FLAGS OF SBATCH] launch/slurm.sh -- COMMAND ...
#   bash launch/slurm.sh --dry_run -- COMMAND ...     prints the commands
#
# Flags of sbatch override those below, as --partition=gpu
# --nodes=2 --ntasks-per-node=4 --gpus-per-node=4 --time=8:00:00.
#
# JAX finds the tasks by the variables that srun sets, and task i of a node takes
# its i-th GPU. So every task must see all GPUs of its node: ask for
# --gpus-per-node, not for --gpus-per-task, which shows each task only one.
#
#SBATCH --job-name=vit_jax
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=8
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --output=%x-%j.log
#SBATCH --open-mode=append
#SBATCH --requeue
# The tasks get SIGTERM five minutes before the time is up, and save.
#SBATCH --signal=TERM@300

set -euo pipefail

# A run that fails again and again is not requeued for ever.
max_restarts=10

fail() {
  echo "slurm.sh: error: $1" >&2
  exit 2
}

dry_run=''
if [ "${1:-}" = --dry_run ]; then
  dry_run=1
  shift
fi
[ "${1:-}" = -- ] || fail "put the command after --"
shift
[ $# -gt 0 ] || fail "there is no command: put it after --"

# srun does not inherit --cpus-per-task from sbatch.
srun=(srun --label --kill-on-bad-exit=0)
srun+=(--cpus-per-task="${SLURM_CPUS_PER_TASK:-8}" "$@")

if [ "$dry_run" ]; then
  printf '%q ' "${srun[@]}" | sed 's/ $/\n/'
  echo "scontrol requeue \$SLURM_JOB_ID  # if that ended with 42, 43 or 137"
  exit
fi
[ "${SLURM_JOB_ID:-}" ] || fail "there is no job: sbatch launch/slurm.sh -- ..."
tasks=${SLURM_NTASKS_PER_NODE:-1}
gpus=${SLURM_GPUS_ON_NODE:-0}
if [ "${SLURM_NTASKS:-1}" -gt 1 ] && [ "$gpus" != 0 ] &&
  [ "$tasks" != "$gpus" ]; then
  fail "$tasks tasks a node for $gpus GPUs: JAX gives each task one; ask for \
as many by --ntasks-per-node as by --gpus-per-node"
fi

# Before the time is up and when the job is preempted, only the tasks get SIGTERM.
# This shell gets it when Slurm ends the job itself, as scancel does: then the job
# must not be requeued.
ended=''
trap 'ended=1' TERM
status=0
"${srun[@]}" || status=$?
echo "slurm.sh: ended with status $status"
[ -z "$ended" ] || exit $status
# srun ends with the highest status of all tasks: the 137 of a killed task hides
# the 43 of those that lost it.
case $status in
  42) why=saved ;;
  43 | 137)
    why='a task was lost or stuck'
    restarts=${SLURM_RESTART_COUNT:-0}
    if [ "$restarts" -ge $max_restarts ]; then
      echo "slurm.sh: $why, and the job was restarted $restarts times: see why \
above; the same sbatch goes on"
      exit $status
    fi
    ;;
  *) exit $status ;;
esac
echo "slurm.sh: $why: back into the queue"
scontrol requeue "$SLURM_JOB_ID"
exit $status
