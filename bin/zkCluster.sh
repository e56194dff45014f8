#!/usr/bin/env bash
# Ferrokeeper: starts, stops or questions every server of an ensemble over ssh: zkCluster.sh start | stop | status [HOST…]
#
# Each host runs its own bin/zkServer.sh, one after the other; a line of its name comes before what it says. Hosts are the
# arguments, else ZK_HOSTS, else those of the server.N lines of zoo.cfg. docs/scripts.md has the details.
if [ -z "${BASH_VERSION:-}" ]; then exec bash "$0" "$@"; fi
set -u

ZOO_SCRIPT=${BASH_SOURCE[0]}
if [ -L "$ZOO_SCRIPT" ] && [ ! -e "$(dirname -- "$ZOO_SCRIPT")/zkEnv.sh" ]; then
  ZOO_SCRIPT=$(readlink -f -- "$ZOO_SCRIPT")
fi
ZOOBINDIR=$(CDPATH='' cd -- "$(dirname -- "$ZOO_SCRIPT")" && pwd)
if [ -e "$ZOOBINDIR/../libexec/zkEnv.sh" ]; then
  # shellcheck source=bin/zkEnv.sh
  . "$ZOOBINDIR/../libexec/zkEnv.sh"
else
  # shellcheck source=bin/zkEnv.sh
  . "$ZOOBINDIR/zkEnv.sh"
fi

usage() {
  echo "Usage: $0 [--config <conf-dir>] {start|stop|status} [host...]" >&2
  exit 2
}

# host_of SERVER: the host of a server line's value into host: host:port:port…, IPv6 addresses in brackets.
host_of() {
  if [[ $1 == \[* ]]; then
    host=${1#\[}
    host=${host%%\]*}
  else
    host=${1%%:*}
  fi
}

# configured_hosts FILE: prints "N host" for every server.N line, as zoo_setting reads them.
configured_hosts() {
  local line key ids=() id
  [ -r "$1" ] || return 0
  while IFS= read -r line || [ -n "$line" ]; do
    zoo_trim "$line"
    key=${ZOO_TRIMMED%%[=:[:space:]]*}
    if [[ $key =~ ^server\.([0-9]+)$ ]]; then
      ids+=("${BASH_REMATCH[1]}")
    fi
  done <"$1"
  for id in ${ids[@]+"${ids[@]}"}; do
    host_of "$(zoo_setting "$1" "server.$id")"
    echo "$id $host"
  done
}

# find_hosts HOST…: into the array hosts. Several servers of one host are one host: it has one bin/zkServer.sh.
find_hosts() {
  local found host seen=' '
  if [ $# -gt 0 ]; then
    found=$(printf '%s\n' "$@")
  elif [ -n "${ZK_HOSTS:-}" ]; then
    found=$(tr ', \t' '\n' <<<"$ZK_HOSTS")
  else
    found=$({
      configured_hosts "$ZOOCFG"
      configured_hosts "$(zoo_setting "$ZOOCFG" dynamicConfigFile)"
    } | sort -n -s -k 1,1 | cut -d ' ' -f 2-)
  fi
  hosts=()
  while IFS= read -r host; do
    if [ -n "$host" ] && [[ $seen != *" $host "* ]]; then
      hosts+=("$host")
      seen+="$host "
    fi
  done <<<"$found"
}

# banner HOST: the line before a host's own, in the language of the locale.
banner() {
  local what=$command
  case ${LC_ALL:-${LC_MESSAGES:-${LANG:-}}} in
    zh*) case $command in start) what=启动 ;; stop) what=停止 ;; status) what=状态 ;; esac ;;
  esac
  echo "----------zookeeper $1 $what----------"
}

command=${1:-}
case $command in
  start | stop | status) shift ;;
  *) usage ;;
esac
for argument in "$@"; do
  # What begins with a dash would be an option of ssh.
  case $argument in -* | '') usage ;; esac
done

find_hosts "$@"
if [ ${#hosts[@]} -eq 0 ]; then
  echo "Error: no hosts: name them, set ZK_HOSTS, or write server.N lines into $ZOOCFG." >&2
  exit 2
fi
zoo_words "${ZK_SSH:-ssh}"
ssh_command=("${ZOO_WORDS[@]}")
# The remote side is one string for a shell.
printf -v remote '%q %s' "${ZK_CLUSTER_HOME:-${ZOOBINDIR%/*}}/bin/zkServer.sh" "$command"

failed=()
for host in "${hosts[@]}"; do
  banner "$host"
  # Without /dev/null ssh would read this script's own input.
  "${ssh_command[@]}" "$host" "$remote" </dev/null
  code=$?
  if [ "$code" -ne 0 ]; then
    failed+=("$host")
    echo "Error: $command failed on $host (exit code $code)." >&2
  fi
done
if [ ${#failed[@]} -gt 0 ]; then
  echo "Error: $command failed on ${#failed[@]} of ${#hosts[@]} hosts: ${failed[*]}" >&2
  exit 1
fi
