#!/usr/bin/env bash
# Ferrokeeper: starts, stops and questions one ZooKeeper server (the Java one after `bin/zkUse.sh java`).
# Messages, streams and exit codes are those of ZooKeeper 3.5.7's script; docs/scripts.md lists the differences.
if [ -z "${BASH_VERSION:-}" ]; then exec bash "$0" "$@"; fi
set -u

ZOO_SCRIPT=${BASH_SOURCE[0]}
if [ -L "$ZOO_SCRIPT" ] && [ ! -e "$(dirname -- "$ZOO_SCRIPT")/zkEnv.sh" ]; then
  ZOO_SCRIPT=$(readlink -f -- "$ZOO_SCRIPT")
fi
# Directory links are kept as the operator typed them: /opt/zk/bin/../conf is what the config line must say.
ZOOBINDIR=$(CDPATH='' cd -- "$(dirname -- "$ZOO_SCRIPT")" && pwd)
if [ -e "$ZOOBINDIR/../libexec/zkEnv.sh" ]; then
  # shellcheck source=bin/zkEnv.sh
  . "$ZOOBINDIR/../libexec/zkEnv.sh"
else
  # shellcheck source=bin/zkEnv.sh
  . "$ZOOBINDIR/zkEnv.sh"
fi

command=${1:-}
case ${2:-} in
  '') ;;
  */*) ZOOCFG=$2 ;;
  *) ZOOCFG="$ZOOCFGDIR/$2" ;;
esac

# The two lines (six with JMXPORT) that open every command, on stderr.
announce() {
  local product=''
  if [ "$ZK_IMPL" = java ]; then product='ZooKeeper '; fi
  if [ -n "${JMXDISABLE:-}" ] && [ "$JMXDISABLE" != false ]; then
    echo "JMX disabled by user request" >&2
  else
    echo "${product}JMX enabled by default" >&2
    if [ -n "${JMXPORT:-}" ]; then
      echo "ZooKeeper remote JMX Port set to $JMXPORT" >&2
      echo "ZooKeeper remote JMX authenticate set to ${JMXAUTH:-false}" >&2
      echo "ZooKeeper remote JMX ssl set to ${JMXSSL:-false}" >&2
      echo "ZooKeeper remote JMX log4j set to ${JMXLOG4J:-true}" >&2
    fi
  fi
  echo "Using config: $ZOOCFG" >&2
  if [ ! -r "$ZOOCFG" ]; then
    echo "Config file $ZOOCFG does not exist or cannot be read; copy zoo_sample.cfg to it or name another." >&2
  fi
}

# Creates what the server and its pid file need, and refuses what ZOO_DATADIR_AUTOCREATE_DISABLE forbids.
prepare_directories() {
  local log_dir
  data_dir=$(zoo_setting "$ZOOCFG" dataDir)
  autocreate=()
  if [ -n "${ZOO_DATADIR_AUTOCREATE_DISABLE:-}" ]; then
    if [ ! -d "$data_dir/version-2" ]; then
      echo "ZooKeeper data directory is missing at $data_dir fix the path or run initialize"
      exit 1
    fi
    log_dir=$(zoo_setting "$ZOOCFG" dataLogDir)
    if [ -n "$log_dir" ] && [ ! -d "$log_dir/version-2" ]; then
      echo "ZooKeeper txnlog directory is missing at $log_dir fix the path or run initialize"
      exit 1
    fi
    autocreate=(-Dzookeeper.datadir.autocreate=false)
  fi
  if [ ! -w "$ZOO_LOG_DIR" ]; then
    mkdir -p -- "$ZOO_LOG_DIR"
  fi
  if [ -n "${ZOOPIDFILE:-}" ]; then
    mkdir -p -- "$(dirname -- "$ZOOPIDFILE")"
  elif [ -n "$data_dir" ]; then
    if [ ! -d "$data_dir" ]; then
      mkdir -p -- "$data_dir"
    fi
    ZOOPIDFILE="$data_dir/zookeeper_server.pid"
  else
    # No dataDir, so the server will refuse the config; the pid file must not land in / meanwhile.
    ZOOPIDFILE="$ZOO_LOG_DIR/zookeeper_server.pid"
  fi
}

# server_command: the whole command line into the array server_command, or exit 1 when there is nothing to run.
server_command() {
  local word log_flags
  log_flags=(
    "-Dzookeeper.log.dir=$ZOO_LOG_DIR"
    "-Dzookeeper.log.file=zookeeper-$USER-server-$HOSTNAME.log"
    "-Dzookeeper.root.logger=$ZOO_LOG4J_PROP"
  )
  zoo_words "${SERVER_JVMFLAGS:-} ${JVMFLAGS:-}"
  if [ "$ZK_IMPL" = java ]; then
    server_command=("$JAVA" ${autocreate[@]+"${autocreate[@]}"} "${log_flags[@]}"
      -XX:+HeapDumpOnOutOfMemoryError "-XX:OnOutOfMemoryError=kill -9 %p"
      -cp "$CLASSPATH" ${ZOO_WORDS[@]+"${ZOO_WORDS[@]}"})
    java_jmx_flags
    server_command+=(org.apache.zookeeper.server.quorum.QuorumPeerMain "$ZOOCFG")
    return
  fi
  zoo_find_binary || exit 1
  server_command=("$FERROKEEPER" server ${autocreate[@]+"${autocreate[@]}"} "${log_flags[@]}")
  # Only properties mean something to Ferrokeeper; heap sizes, agents and the like are for a JVM.
  for word in ${ZOO_WORDS[@]+"${ZOO_WORDS[@]}"}; do
    case $word in
      -D?*) server_command+=("$word") ;;
    esac
  done
  server_command+=("$ZOOCFG")
}

java_jmx_flags() {
  if [ -n "${JMXDISABLE:-}" ] && [ "$JMXDISABLE" != false ]; then return; fi
  server_command+=(-Dcom.sun.management.jmxremote)
  if [ -z "${JMXPORT:-}" ]; then
    server_command+=("-Dcom.sun.management.jmxremote.local.only=${JMXLOCALONLY:-false}")
  else
    server_command+=(
      "-Dcom.sun.management.jmxremote.port=$JMXPORT"
      "-Dcom.sun.management.jmxremote.authenticate=${JMXAUTH:-false}"
      "-Dcom.sun.management.jmxremote.ssl=${JMXSSL:-false}"
      "-Dzookeeper.jmx.log4j.disable=${JMXLOG4J:-true}"
    )
  fi
}

# exists PID: a process of any user has that id and is not a zombie that its parent forgot.
exists() {
  local word state=''
  if [ -r "/proc/$1/status" ]; then
    while read -r word state _; do
      if [ "$word" = State: ]; then break; fi
    done <"/proc/$1/status"
    [ "$state" != Z ]
  else
    kill -0 "$1" 2>/dev/null
  fi
}

# is_zookeeper PID: the process runs `ferrokeeper server` or a main class of Java's ZooKeeper. Where there is no
# /proc to tell, it is believed, as Java's script always does.
is_zookeeper() {
  local word previous='' binary=${FERROKEEPER_BIN:-ferrokeeper}
  if [ ! -r "/proc/$1/cmdline" ]; then
    return 0
  fi
  while IFS= read -r -d '' word; do
    case $word in
      org.apache.zookeeper.*) return 0 ;;
      server) case ${previous##*/} in ferrokeeper | "${binary##*/}") return 0 ;; esac ;;
    esac
    previous=$word
  done <"/proc/$1/cmdline"
  return 1
}

# read_pid: the pid in the pid file into pid; 1 when the file is missing or holds something else.
read_pid() {
  pid=''
  if [ -f "$ZOOPIDFILE" ]; then
    read -r pid <"$ZOOPIDFILE" || true
  fi
  [[ $pid =~ ^[1-9][0-9]*$ ]]
}

start() {
  local out_file="$ZOO_LOG_DIR/zookeeper-$USER-server-$HOSTNAME.out"
  server_command
  echo -n "Starting zookeeper ... "
  if read_pid && exists "$pid" && is_zookeeper "$pid"; then
    echo "already running as process $pid."
    exit 1
  fi
  if nohup "${server_command[@]}" >"$out_file" 2>&1 </dev/null & then
    pid=$!
  else
    echo "SERVER DID NOT START"
    exit 1
  fi
  if ! printf '%s' "$pid" >"$ZOOPIDFILE"; then
    echo "FAILED TO WRITE PID"
    exit 1
  fi
  sleep 1
  if ! exists "$pid"; then
    echo "FAILED TO START"
    exit 1
  fi
  echo "STARTED"
}

stop() {
  echo -n "Stopping zookeeper ... "
  if [ ! -f "$ZOOPIDFILE" ]; then
    echo "no zookeeper to stop (could not find file $ZOOPIDFILE)"
    return
  fi
  if ! read_pid; then
    echo "$ZOOPIDFILE holds no process id." >&2
  elif exists "$pid" && ! is_zookeeper "$pid"; then
    echo "Process $pid of $ZOOPIDFILE is not a ZooKeeper server any more; it was left alone." >&2
  else
    kill "$pid"
  fi
  rm -- "$ZOOPIDFILE"
  sleep 1
  echo "STOPPED"
}

# restart waits the three seconds of Java's script, and on until the old server has let go of its ports.
restart() {
  local old='' waited
  if read_pid && exists "$pid" && is_zookeeper "$pid"; then old=$pid; fi
  announce
  stop
  sleep 3
  for ((waited = 3; waited < 30; waited++)); do
    if [ -z "$old" ] || ! exists "$old"; then break; fi
    sleep 1
  done
  announce
  start
}

print_command() {
  local word line='' quoted
  for word in "${server_command[@]}"; do
    quoted=${word//\\/\\\\}
    quoted=${quoted//\"/\\\"}
    quoted=${quoted//\$/\\\$}
    quoted=${quoted//\`/\\\`}
    case $word in
      -D*=*) line+="${quoted%%=*}=\"${quoted#*=}\" " ;;
      -XX:*\ *) line+="\"$quoted\" " ;;
      -* | server | org.apache.zookeeper.*) line+="$quoted " ;;
      *) line+="\"$quoted\" " ;;
    esac
  done
  echo "$line> \"$ZOO_LOG_DIR/zookeeper-$USER-server-$HOSTNAME.out\" 2>&1 < /dev/null"
}

# own_client_address: what stands behind the ; of this server's own line, in the config or in the dynamic file, into
# own_host and own_port; 1 when nothing does. Sets myid and own, too.
own_client_address() {
  local dynamic_file
  myid='' own=''
  if [ -f "$data_dir/myid" ]; then
    read -r myid <"$data_dir/myid" || true
  fi
  if [[ ! $myid =~ ^[0-9]+$ ]]; then return 1; fi
  own=$(zoo_setting "$ZOOCFG" "server.$myid")
  if [[ $own != *\;* ]]; then
    dynamic_file=$(zoo_setting "$ZOOCFG" dynamicConfigFile)
    if [ -z "$dynamic_file" ]; then return 1; fi
    own=$(zoo_setting "$dynamic_file" "server.$myid")
  fi
  if [[ $own != *\;* || ! ${own##*;} =~ ^[[:space:]]*((.*):)?([0-9]+)$ ]]; then return 1; fi
  own_host=${BASH_REMATCH[2]}
  own_port=${BASH_REMATCH[3]}
}

# find_client_port: host and port to ask. Where the config names a port and no host, the server listens at the host of its
# own line, if that has one. Prints why and exits 1 when there is no port (the secure port is not asked: srvr has no TLS
# client here).
find_client_port() {
  local myid own own_host='' own_port=''
  host=$(zoo_setting "$ZOOCFG" clientPortAddress)
  port=$(zoo_setting "$ZOOCFG" clientPort)
  if [[ $port =~ ^[0-9]+$ ]]; then
    if [ -z "$host" ] && own_client_address; then host=$own_host; fi
  elif own_client_address; then
    host=$own_host
    port=$own_port
  elif [[ ! $myid =~ ^[0-9]+$ ]]; then
    echo "clientPort not found and myid could not be determined. Terminating."
    exit 1
  else
    if [[ $own != *\;* ]]; then
      echo "Client port not found in static config file. Looking in dynamic config file."
    fi
    echo "Client port not found. Terminating."
    exit 1
  fi
  host=${host#[}
  host=${host%]}
  host=${host:-localhost}
}

status() {
  local answer mode
  find_client_port
  if [ "$ZK_IMPL" = java ]; then
    echo "Client port found: $port. Client address: $host."
    answer=$("$JAVA" -cp "$CLASSPATH" org.apache.zookeeper.client.FourLetterWordMain "$host" "$port" srvr 2>/dev/null)
  else
    zoo_find_binary || exit 1
    answer=$("$FERROKEEPER" four-letter-word "$host" "$port" srvr 2>/dev/null)
  fi
  mode=$(grep '^Mode' <<<"$answer")
  if [ -z "$mode" ]; then
    echo "Error contacting service. It is probably not running."
    exit 1
  fi
  echo "$mode"
}

announce
prepare_directories
case $command in
  start) start ;;
  start-foreground)
    server_command
    if [ -n "${ZOO_NOEXEC:-}" ]; then
      "${server_command[@]}"
    else
      exec "${server_command[@]}"
    fi
    ;;
  print-cmd)
    server_command
    print_command
    ;;
  stop) stop ;;
  restart) restart ;;
  status) status ;;
  *) echo "Usage: $0 [--config <conf-dir>] {start|start-foreground|stop|restart|status|print-cmd}" >&2 ;;
esac
