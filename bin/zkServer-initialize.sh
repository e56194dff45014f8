#!/usr/bin/env bash
# Ferrokeeper: makes empty data and log directories, and the myid file, for the configured server.
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
  echo "usage: $0 <parameters>"
  echo "  Optional parameters:"
  printf '     %-53s %s\n' \
    -h "Display this message" \
    --help "Display this message" \
    "--configfile=$ZOOCFG" "ZooKeeper config file" \
    "--myid=#" "Set the myid to be used, if any (1-255)" \
    --force "Force creation of the data/txnlog dirs"
  exit 1
}

# option_value NAME ARGUMENT NEXT: the value into value and the number of arguments used into used, for both
# `--name=value` and `--name value`.
option_value() {
  case $2 in
    *=*) value=${2#*=} used=1 ;;
    *)
      if [ -z "${3+set}" ]; then
        echo "$0: option '--$1' requires an argument" >&2
        usage
      fi
      value=$3 used=2
      ;;
  esac
}

refuse() {
  echo "$1"
  exit 1
}

# recreate DIR: only what belongs to the database goes; DIR itself may be a mount with an owner of its own.
recreate() {
  rm -rf -- "$1/myid" "$1/version-2" && mkdir -p -- "$1/version-2" || exit 1
}

# FORCE deletes data, so it is never taken from the environment.
force=no
myid=''
while [ $# -gt 0 ]; do
  used=1
  case $1 in
    -h | --help) usage ;;
    --force) force=yes ;;
    --configfile | --configfile=*)
      option_value configfile "$@"
      ZOOCFG=$value
      ;;
    --myid | --myid=*)
      option_value myid "$@"
      myid=$value
      ;;
    --) break ;;
    -*)
      echo "$0: unrecognized option '$1'" >&2
      usage
      ;;
  esac
  shift "$used"
done

if [ ! -e "$ZOOCFG" ]; then refuse "Unable to find config file at $ZOOCFG"; fi
data_dir=$(zoo_setting "$ZOOCFG" dataDir)
log_dir=$(zoo_setting "$ZOOCFG" dataLogDir)
if [ -z "$data_dir" ]; then refuse "Unable to determine dataDir from $ZOOCFG"; fi
if [ -n "$myid" ] && [[ ! $myid =~ ^[0-9]+$ ]]; then refuse "myid must be a number, not $myid"; fi

if [ "$force" = yes ]; then
  echo "Force enabled, data/txnlog directories will be re-initialized"
else
  hint="(or use --force to force re-initialization)"
  if [ -d "$data_dir/version-2" ]; then
    refuse "ZooKeeper data directory already exists at $data_dir $hint"
  fi
  if [ -n "$log_dir" ] && [ -d "$log_dir/version-2" ]; then
    refuse "ZooKeeper txnlog directory already exists at $log_dir $hint"
  fi
fi

recreate "$data_dir"
if [ -n "$log_dir" ] && [ ! "$log_dir" -ef "$data_dir" ]; then recreate "$log_dir"; fi
if [ -n "$myid" ]; then
  echo "Using myid of $myid"
  echo "$myid" >"$data_dir/myid"
else
  echo "No myid provided, be sure to specify it in $data_dir/myid if using non-standalone"
fi
