#!/usr/bin/env bash
# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
#
# A run on Cloud TPU VMs, asked for as a queued resource: one slice or several.
#
#   launch/tpu_vm.sh VERB --name=NAME --zone=ZONE [FLAGS] [-- COMMAND ...]
#
#   create    asks for the TPU; it may wait in a queue
#   install   copies what is committed here to every worker, and installs it
#   run       starts COMMAND on every worker, replacing what runs there
#   logs      follows the output of the first worker
#   status    shows the state of the TPU, and of the command on every worker
#   stop      lets the run save and end
#   delete    gives the TPU back
#   watch     create, install and run, and all of it again after a preemption,
#             until COMMAND has ended with 0 on every worker
#
#   --type=TYPE         as v5litepod-16 (create, watch)
#   --runtime=VERSION   as v2-alpha-tpuv5-lite (create, watch)
#   --spot              cheap, and can be preempted (create, watch)
#   --nodes=N           number of slices of TYPE, 1 by default (create, watch)
#   --project=PROJECT   in place of that of the gcloud configuration
#   --poll=SECONDS      time between two checks, 60 by default (watch)
#   --dry_run           prints the commands, to be pasted, and runs none
#
# On workers the command is a systemd unit, which survives the connection. It is
# started again, at most ten times an hour, unless it ended with 0 (done) or 2
# (bad config), or was stopped.

set -euo pipefail

verb=${1:-}
name='' zone='' type='' runtime='' project='' nodes=1 poll=60 spot='' dry_run=''
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

fail() {
  echo "tpu_vm.sh: error: $1" >&2
  exit "${2:-2}"
}

say() {
  echo "tpu_vm.sh: $1" >&2
}

# Quotes the words for a shell, on one line.
quote() {
  local word line=''
  for word; do
    case $word in
      '' | *[!A-Za-z0-9_./:=,@+-]*)
        word="'$(printf '%s' "$word" | sed "s/'/'\\\\''/g")'"
        ;;
    esac
    line="$line${line:+ }$word"
  done
  printf '%s\n' "$line"
}

call() {
  if [ "$dry_run" ]; then quote "$@"; else "$@"; fi
}

tpu() {
  call gcloud compute tpus queued-resources "$@" --zone="$zone" \
    ${project:+--project="$project"} --quiet
}

on_all() {
  tpu ssh "$name" --node=all --worker=all --command="$1"
}

create() {
  local place=(--node-id="$name")
  if [ "$nodes" -gt 1 ]; then
    place=(--node-count="$nodes" --node-prefix="$name")
  fi
  tpu create "$name" --accelerator-type="$type" --runtime-version="$runtime" \
    "${place[@]}" ${spot:+--spot}
}

delete() {
  tpu delete "$name" --force
}

# The Python of the images is too old: uv installs one.
install() {
  local archive="${TMPDIR:-/tmp}/$name.tar.gz" remote
  remote="mkdir -p vit_jax && tar -xzf vit_jax.tar.gz -C vit_jax"
  remote="$remote && python3 -m pip install -q --user uv"
  remote="$remote && python3 -m uv venv -q --allow-existing --python=3.12"
  remote="$remote vit_jax/.venv && python3 -m uv pip install -q"
  remote="$remote --python=vit_jax/.venv/bin/python -e './vit_jax[tpu]'"
  call git -C "$root" archive --format=tar.gz --output="$archive" HEAD &&
    tpu scp "$archive" "$name:vit_jax.tar.gz" --node=all --worker=all &&
    on_all "$remote"
}

# The command is written to a file, because systemd replaces $ and % in arguments.
# SIGTERM goes to the command alone, which needs its worker processes to save.
run() {
  local script remote property
  script="cd ~/vit_jax && . .venv/bin/activate && exec $(quote "$@")"
  remote="printf '%s\n' $(quote "$script") > vit_jax.sh"
  remote="$remote; sudo systemctl stop vit_jax 2> /dev/null"
  remote="$remote; sudo systemctl reset-failed vit_jax 2> /dev/null"
  remote="$remote; sudo systemd-run --unit=vit_jax --uid=\"\$USER\""
  for property in Restart=on-failure RestartPreventExitStatus=2 RestartSec=10 \
    StartLimitIntervalSec=3600 StartLimitBurst=10 RemainAfterExit=yes \
    KillMode=mixed TimeoutStopSec=600; do
    remote="$remote --property=$property"
  done
  on_all "$remote bash \"\$HOME/vit_jax.sh\""
}

# Prints nothing if there is no such resource; fails only if gcloud fails.
get_state() {
  tpu list --filter="name~/$name\$" --format='value(state.state)'
}

# Lists the distinct states of the units: SubState=running, auto-restart, failed,
# exited (with 0), or dead, if nothing was started since the worker booted.
get_units() {
  on_all 'systemctl show vit_jax --property=SubState' | grep -o 'SubState=.*' |
    sort -u
}

status() {
  tpu describe "$name" --format='value(state.state)' &&
    on_all 'systemctl show vit_jax --property=SubState,ExecMainStatus,NRestarts'
}

again() {
  say "that failed: trying again in $poll s"
}

watch() {
  local state units
  while true; do
    # A failure is tried again: the network may fail for a moment.
    if state=$(get_state); then
      case $state in
        '')
          say "there is no $name: asking for it"
          create || again
          ;;
        SUSPENDED)
          say "$name was taken away: asking for it again"
          { delete && create; } || again
          ;;
        FAILED)
          fail "$name was refused: see gcloud compute tpus queued-resources \
describe $name --zone=$zone" 1
          ;;
        ACTIVE)
          units=$(get_units) || units=''
          case $units in
            *dead*)
              say "$name is there: installing and starting"
              { install && run "$@"; } || again
              ;;
            *failed*)
              fail "the command failed: logs says why; $name is still there, \
and costs until delete" 1
              ;;
            SubState=exited)
              say "done; $name is still there, and costs until delete"
              return
              ;;
          esac
          ;;
      esac
    fi
    sleep "$poll"
  done
}

case $verb in
  create | install | run | logs | status | stop | delete | watch) shift ;;
  *) fail "the first argument must be one of create, install, run, logs, \
status, stop, delete, watch" ;;
esac
while [ $# -gt 0 ] && [ "$1" != -- ]; do
  case $1 in
    --name=*) name=${1#*=} ;;
    --zone=*) zone=${1#*=} ;;
    --type=*) type=${1#*=} ;;
    --runtime=*) runtime=${1#*=} ;;
    --project=*) project=${1#*=} ;;
    --nodes=*) nodes=${1#*=} ;;
    --poll=*) poll=${1#*=} ;;
    --spot) spot=1 ;;
    --dry_run) dry_run=1 ;;
    *) fail "unknown flag $1: put the command after --" ;;
  esac
  shift
done
[ $# -eq 0 ] || shift

[ "$name" ] || fail "--name is missing"
[ "$zone" ] || fail "--zone is missing"
case $nodes in
  '' | 0* | *[!0-9]*) fail "--nodes=$nodes must be a number of slices" ;;
esac
case $verb in
  create | watch)
    [ "$type" ] || fail "--type is missing, as --type=v5litepod-16"
    [ "$runtime" ] ||
      fail "--runtime is missing, as --runtime=v2-alpha-tpuv5-lite"
    ;;
esac
case $verb in
  run | watch) [ $# -gt 0 ] || fail "there is no command: put it after --" ;;
  *) [ $# -eq 0 ] || fail "$verb takes no command" ;;
esac
[ "$dry_run" ] || command -v gcloud > /dev/null ||
  fail "gcloud: command not found: install the Google Cloud CLI"

case $verb in
  logs)
    tpu ssh "$name" --node=0 --worker=0 \
      --command='sudo journalctl --unit=vit_jax --lines=100 -f --output=cat'
    ;;
  stop) on_all 'sudo systemctl stop vit_jax' ;;
  watch)
    # A dry run has no state to act on: it prints what a preemption leads to.
    if [ "$dry_run" ]; then
      get_state && delete && create && install && run "$@"
    else
      watch "$@"
    fi
    ;;
  *) "$verb" "$@" ;;
esac
