#!/bin/bash
# keep_running.sh LOG COMMAND ARGUMENT...
# Runs COMMAND in the background, detached from the terminal or ssh connection, and appends what it prints to LOG.
# Starts it again as long as it ends with 42, the trainer's "state saved, please restart"; any other exit code ends it.
# Refuses a second start on the same LOG while the first goes on: two trainers would fight over one TPU and one workdir.
# LOG.pid names the process group of both, to stop them together; LOG.lock is held until both have ended.
set -um
log=$1
shift
exec 9>"$log.lock"
if ! flock --nonblock 9; then
  echo "error: training goes on already; its log is $log" >&2
  exit 2
fi
export PYTHONUNBUFFERED=1
(
  trap '' HUP
  while true; do
    "$@"
    code=$?
    echo "[$(date -u +%FT%TZ)] exit code $code"
    [ "$code" -eq 42 ] || exit "$code"
  done
) >>"$log" 2>&1 </dev/null &
echo $! >"$log.pid"
echo "started; output goes to $log"
