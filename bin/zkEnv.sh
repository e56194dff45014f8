# shellcheck shell=bash disable=SC2034
# Ferrokeeper scripts: where things are. Sourced, never run.
#
# Sets ZOOBINDIR, ZOOKEEPER_PREFIX, ZOOCFGDIR, ZOOCFG, ZOO_LOG_DIR, ZOO_LOG4J_PROP, USER, HOSTNAME and ZK_IMPL,
# takes `--config DIR` off the caller's arguments, and defines the zoo_* functions below. docs/scripts.md has the table.
#
# Apache's own zkCli.sh and zkTxnLogToolkit.sh source this file too once Ferrokeeper is unpacked over a Java home:
# a caller that has not set ZOO_SCRIPT is one of those and gets JAVA, CLASSPATH and CLIENT_JVMFLAGS as it expects.
# Hence nothing here may change the caller's shell options.

# `env -i`: bash then searches a PATH of its own but hands none to its children.
case $(declare -p PATH 2>/dev/null) in
  'declare -x PATH=""' | 'declare -- '* | '') export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin ;;
esac

# zoo_trim TEXT: into ZOO_TRIMMED, so that a loop over a file forks nothing.
zoo_trim() {
  ZOO_TRIMMED=${1#"${1%%[![:space:]]*}"}
  ZOO_TRIMMED=${ZOO_TRIMMED%"${ZOO_TRIMMED##*[![:space:]]}"}
}

# zoo_setting FILE KEY: prints the value the server reads for KEY, as java.util.Properties does: '=', ':' or a blank
# ends the key, the last line of that key wins, a backslash joins lines or protects one character. Prints an empty
# line when the key or the file is missing.
zoo_setting() {
  local key=$2 line more value='' odd_backslashes='(^|[^\])(\\\\)*\\$'
  if [ -r "$1" ] && [ -f "$1" ]; then
    while IFS= read -r line || [ -n "$line" ]; do
      line=${line%$'\r'}
      line=${line#"${line%%[![:space:]]*}"}
      case $line in '#'* | '!'*) continue ;; esac
      while [[ $line =~ $odd_backslashes ]] && IFS= read -r more; do
        zoo_trim "$more"
        line=${line%\\}$ZOO_TRIMMED
      done
      case $line in
        "$key" | "$key"[=:[:space:]]*)
          zoo_trim "${line#"$key"}"
          zoo_trim "${ZOO_TRIMMED#[=:]}"
          # shellcheck disable=SC2162 # without -r, for read takes the backslashes off
          IFS= read -d '' value <<<"$ZOO_TRIMMED" || true
          value=${value%$'\n'}
          ;;
      esac
    done <"$1"
  fi
  printf '%s\n' "$value"
}

# zoo_find_binary: sets FERROKEEPER, or says what to do and returns 1. It never builds anything.
zoo_find_binary() {
  local candidate
  if [ -n "${FERROKEEPER_BIN:-}" ]; then
    if FERROKEEPER=$(type -P -- "$FERROKEEPER_BIN") && [ -n "$FERROKEEPER" ]; then
      return 0
    fi
    echo "Error: FERROKEEPER_BIN is set to $FERROKEEPER_BIN, which is not an executable file." >&2
    return 1
  fi
  for candidate in lib target/release target/debug; do
    FERROKEEPER="$ZOOKEEPER_PREFIX/$candidate/ferrokeeper"
    if [ -f "$FERROKEEPER" ] && [ -x "$FERROKEEPER" ]; then
      return 0
    fi
  done
  echo "Error: no ferrokeeper binary under $ZOOKEEPER_PREFIX (looked in lib, target/release and target/debug)." >&2
  echo "In a source clone run: cargo build --release. Otherwise unpack the ferrokeeper -bin tarball here," >&2
  echo "or set FERROKEEPER_BIN to the binary." >&2
  return 1
}

# zoo_find_java: sets JAVA and CLASSPATH from the jars of a Java home, or says what is missing and returns 1.
zoo_find_java() {
  local jar
  if [ -n "${JAVA_HOME:-}" ] && [ -x "$JAVA_HOME/bin/java" ]; then
    JAVA=$JAVA_HOME/bin/java
  elif type -p java >/dev/null; then
    JAVA=java
  else
    echo "Error: JAVA_HOME is not set and java could not be found in PATH." >&2
    return 1
  fi
  CLASSPATH="$ZOOCFGDIR${CLASSPATH:+:$CLASSPATH}"
  for jar in "$ZOOKEEPER_PREFIX"/share/zookeeper/*.jar "$ZOOKEEPER_PREFIX"/zookeeper-*.jar "$ZOOKEEPER_PREFIX"/lib/*.jar; do
    if [ -f "$jar" ]; then
      CLASSPATH="$jar:$CLASSPATH"
    fi
  done
  export SERVER_JVMFLAGS="-Xmx${ZK_SERVER_HEAP:-1000}m${SERVER_JVMFLAGS:+ $SERVER_JVMFLAGS}"
  export CLIENT_JVMFLAGS="-Xmx${ZK_CLIENT_HEAP:-256}m${CLIENT_JVMFLAGS:+ $CLIENT_JVMFLAGS}"
}

# zoo_words TEXT: splits at blanks into the array ZOO_WORDS; unlike an unquoted $TEXT it expands no '*'.
zoo_words() {
  ZOO_WORDS=()
  IFS=$' \t\n' read -r -d '' -a ZOO_WORDS <<<"$1" || true
}

ZOOBINDIR="${ZOOBINDIR:-/usr/bin}"
ZOOKEEPER_PREFIX="$ZOOBINDIR/.."

if [ $# -gt 1 ] && [ "$1" = "--config" ]; then
  ZOOCFGDIR=$2
  shift 2
fi
if [ -z "${ZOOCFGDIR:-}" ]; then
  if [ -e "$ZOOKEEPER_PREFIX/conf" ]; then
    ZOOCFGDIR="$ZOOBINDIR/../conf"
  else
    ZOOCFGDIR="$ZOOBINDIR/../etc/zookeeper"
  fi
elif [ "$ZOOCFGDIR" != / ]; then
  ZOOCFGDIR=${ZOOCFGDIR%/}
fi

# The operator's own files may use unset variables; they are sourced here, not in a function, so that a plain
# `declare` in them stays visible.
case $- in *u*) zoo_restore_u='set -u' ;; *) zoo_restore_u=: ;; esac
set +u
if [ -f "$ZOOCFGDIR/zookeeper-env.sh" ]; then
  # shellcheck source=/dev/null
  . "$ZOOCFGDIR/zookeeper-env.sh"
fi

case ${ZOOCFG:=zoo.cfg} in
  */*) ;;
  *) ZOOCFG="$ZOOCFGDIR/$ZOOCFG" ;;
esac

if [ -f "$ZOOCFGDIR/java.env" ]; then
  # shellcheck source=/dev/null
  . "$ZOOCFGDIR/java.env"
fi
$zoo_restore_u

ZOO_LOG_DIR="${ZOO_LOG_DIR:-$ZOOKEEPER_PREFIX/logs}"
ZOO_LOG4J_PROP="${ZOO_LOG4J_PROP:-INFO,CONSOLE}"
if [ -z "${USER:-}" ]; then
  USER=$(id -un 2>/dev/null) || USER=$(id -u)
fi
if [ -z "${HOSTNAME:-}" ]; then
  HOSTNAME=$(uname -n)
fi

# Which server the scripts run. bin/zkUse.sh writes the file; unpacking a Ferrokeeper tarball resets it.
if [ -z "${ZK_IMPL:-}" ]; then
  ZK_IMPL=ferrokeeper
  if [ -r "$ZOOKEEPER_PREFIX/lib/server-implementation" ]; then
    read -r ZK_IMPL <"$ZOOKEEPER_PREFIX/lib/server-implementation" || true
  fi
fi
case $ZK_IMPL in
  ferrokeeper | java) ;;
  *)
    echo "Error: ZK_IMPL is '$ZK_IMPL' (environment, zookeeper-env.sh or lib/server-implementation); it must be ferrokeeper or java." >&2
    exit 1
    ;;
esac

if [ "$ZK_IMPL" = java ] || [ -z "${ZOO_SCRIPT:-}" ]; then
  zoo_find_java || exit 1
fi
