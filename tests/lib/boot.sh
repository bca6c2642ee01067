#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# boot.sh NAME ROOT [nspawn option...]: boots ROOT (of mkroot.sh) with a real systemd in nspawn, prints
# "up PID" (its process 1, seen from here), and waits on stdin:
#   reboot     an orderly stop and a new boot
#   power-cut  all of its processes are killed at once, and a new boot
#   end of file: an orderly stop; ROOT is removed
# Whoever started it may die at any moment: the end of file cleans up all the same.
set -u
name=$1
root=$2
shift 2
cgroup=$(awk '$3 == "cgroup2" { print $2; exit }' /proc/mounts)/rollcall-$name
nspawn=
leader=

# Its own cgroup first: with --keep-unit nspawn would place the machine beside itself, in the host's root.
start() {
  mkdir -p "$cgroup" || return 1
  (
    echo $BASHPID >"$cgroup/cgroup.procs"
    SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1 SYSTEMD_NSPAWN_LOCK=0 exec systemd-nspawn --quiet --directory="$root" \
      --machine="$name" --bind-ro=/usr --register=no --keep-unit --console=pipe --capability=all \
      --rlimit=RLIMIT_NOFILE="$(ulimit -Hn)" --kill-signal=RTMIN+3 "$@" --boot -- --show-status=0
  ) </dev/null >>"$root.console" 2>&1 &
  nspawn=$!
  find_leader && wait_running
}

find_leader() {
  local pid children
  for _ in $(seq 500); do
    read -ra children <"/proc/$nspawn/task/$nspawn/children"
    for pid in "${children[@]}"; do
      if [ "$(awk '/^NSpid/ { print $NF }' "/proc/$pid/status" 2>/dev/null)" = 1 ] &&
        [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = systemd ]; then
        leader=$pid
        return 0
      fi
    done
    kill -0 "$nspawn" 2>/dev/null || break
    sleep 0.02
  done
  cat "$root.console" >&2
  return 1
}

wait_running() {
  local state
  for _ in $(seq 500); do
    [ -S "/proc/$leader/root/run/dbus/system_bus_socket" ] && break
    sleep 0.02
  done
  state=$(nsenter -t "$leader" -m -u -i -p -n -C -- systemctl is-system-running --wait 2>&1)
  if [ "$state" != running ]; then
    echo "boot.sh: $name is $state" >&2
    nsenter -t "$leader" -m -u -i -p -n -C -- systemctl --failed --no-legend >&2
  fi
  echo "up $leader"
}

# $1: the signal for process 1. Killing nspawn alone would leave that alive.
stop() {
  [ -n "$nspawn" ] || return 0
  kill -s "$1" "${leader:-$nspawn}" 2>/dev/null
  for _ in $(seq 150); do
    kill -0 "$nspawn" 2>/dev/null || break
    sleep 0.1
  done
  kill -KILL ${leader:+"$leader"} "$nspawn" 2>/dev/null
  wait "$nspawn" 2>/dev/null
  nspawn=
  leader=
  for _ in $(seq 40); do
    find "$cgroup" -depth -type d -exec rmdir {} + 2>/dev/null
    [ -d "$cgroup" ] || break
    sleep 0.05
  done
}

finish() {
  stop RTMIN+3
  rm -rf --one-file-system "$root" "$root.console"
  rmdir "$(dirname "$root")" 2>/dev/null
}
trap finish EXIT
trap 'exit 143' TERM HUP INT

ulimit -n "$(ulimit -Hn)"
start "$@" || exit 3
while read -r order; do
  case $order in
    reboot) stop RTMIN+3 ;;
    power-cut) stop KILL ;;
    *) continue ;;
  esac
  start "$@" || exit 3
done
