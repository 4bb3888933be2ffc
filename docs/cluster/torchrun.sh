#!/usr/bin/env bash
# The train stage on several machines: start this on each, in the repository, within ten minutes of the first.
#   MASTER=node0 NODES=2 NODE=0 PROCESSES=8 docs/cluster/torchrun.sh
set -euo pipefail
master=${MASTER:-127.0.0.1}               # a name or address of machine 0 that all others reach
nodes=${NODES:-1}                         # machines
node=${NODE:-${SLURM_NODEID:-0}}          # which of them this is, from 0
processes=${PROCESSES:-2}                 # workers on each: its GPUs
port=${PORT:-29400}                       # of the rendezvous, on machine 0
job=${JOB:-bonafide}                      # equal on all machines, another for each run

# A store for each attempt: with torch 2.13's shared one, gloo hung after 2 of 6 restarts.
export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1
# torchrun would set it and warn; the stage sets its own threads from params.yaml.
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
# Else torch guesses from host names who serves the rendezvous, and where it guesses wrong all wait for each other.
is_host=$([[ $node == 0 ]] && echo true || echo false)

# exec: signals reach the agent, which hands them to the workers, which save a checkpoint.
exec torchrun \
  --nnodes="$nodes" \
  --nproc-per-node="$processes" \
  --rdzv-backend=c10d \
  --rdzv-endpoint="$master:$port" \
  --rdzv-conf="is_host=$is_host" \
  --rdzv-id="$job" \
  --max-restarts=3 \
  -m "${MODULE:-stages.train}" "$@"
