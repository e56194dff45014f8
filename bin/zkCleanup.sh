#!/usr/bin/env bash
# Ferrokeeper: removes old snapshots and transaction logs. zkCleanup.sh [--config DIR] -n COUNT
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

data_dir=$(zoo_setting "$ZOOCFG" dataDir)
log_dir=$(zoo_setting "$ZOOCFG" dataLogDir)
if [ -z "$data_dir" ]; then
  echo "Unable to determine dataDir from $ZOOCFG" >&2
  exit 1
fi
directories=("$data_dir")
if [ -n "$log_dir" ]; then
  directories=("$log_dir" "$data_dir")
fi

if [ "$ZK_IMPL" = java ]; then
  zoo_words "${JVMFLAGS:-}"
  exec "$JAVA" "-Dzookeeper.log.dir=$ZOO_LOG_DIR" "-Dzookeeper.root.logger=$ZOO_LOG4J_PROP" \
    "-Dzookeeper.log.file=zookeeper-$USER-cleanup-$HOSTNAME.log" -cp "$CLASSPATH" \
    ${ZOO_WORDS[@]+"${ZOO_WORDS[@]}"} org.apache.zookeeper.server.PurgeTxnLog "${directories[@]}" "$@"
fi
zoo_find_binary || exit 1
exec "$FERROKEEPER" cleanup "${directories[@]}" "$@"
