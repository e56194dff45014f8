#!/usr/bin/env bash
# Ferrokeeper or Java: chooses the server that the scripts of this home run: zkUse.sh java | ferrokeeper
#
# The choice is one word in lib/server-implementation; a running server is not touched. Where the unpacking kept
# Java's own scripts (tar --backup=numbered: zkServer.sh.~1~), `java` puts those very files back as well, and ours
# wait beside them as *.ferrokeeper. docs/scripts.md tells the whole story.
if [ -z "${BASH_VERSION:-}" ]; then exec bash "$0" "$@"; fi
set -u

bin_dir=$(CDPATH='' cd -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")" && pwd)
home=${bin_dir%/*}
scripts=(zkEnv.sh zkServer.sh zkServer-initialize.sh zkCleanup.sh)

# Every script of ours says so in its heading.
is_ours() {
  grep -q '^# Ferrokeeper' -- "$1"
}

# java_original SCRIPT: prints the kept file that is Java's, the latest kept one first.
java_original() {
  local kept
  if [ -f "$bin_dir/$1.java" ]; then
    echo "$bin_dir/$1.java"
    return
  fi
  # shellcheck disable=SC2012 # our own names: version order is what ls -v is for
  ls -rv -- "$bin_dir/$1".~*~ 2>/dev/null | while IFS= read -r kept; do
    if ! is_ours "$kept"; then
      echo "$kept"
      break
    fi
  done
}

# put FILE NAME: FILE becomes bin/NAME in one step, so that a script somebody is running stays whole.
put() {
  cp -p -- "$1" "$bin_dir/$2.new" && mv -- "$bin_dir/$2.new" "$bin_dir/$2"
}

java_jars() {
  local jar
  for jar in "$home"/lib/zookeeper-*.jar "$home"/zookeeper-*.jar "$home"/share/zookeeper/zookeeper-*.jar; do
    if [ -f "$jar" ]; then return 0; fi
  done
  return 1
}

# Java's scripts go back only as a set: our zkServer.sh cannot work with their zkEnv.sh.
restore_java_scripts() {
  local script original
  if ! is_ours "$bin_dir/zkServer.sh"; then
    echo "Java's own scripts are in place already."
    return
  fi
  if [ -z "$(java_original zkEnv.sh)" ] || [ -z "$(java_original zkServer.sh)" ]; then
    echo "The scripts of this home now run the Java server."
    return
  fi
  for script in "${scripts[@]}"; do
    original=$(java_original "$script")
    put "$bin_dir/$script" "$script.ferrokeeper" || exit 1
    if [ -z "$original" ]; then
      rm -- "$bin_dir/$script"
      continue
    fi
    if [ "$original" != "$bin_dir/$script.java" ]; then
      put "$original" "$script.java" || exit 1
    fi
    put "$original" "$script" || exit 1
  done
  echo "Java's own scripts are back in $bin_dir."
}

restore_our_scripts() {
  local script
  for script in "${scripts[@]}"; do
    if [ -f "$bin_dir/$script" ] && is_ours "$bin_dir/$script"; then continue; fi
    if [ ! -f "$bin_dir/$script.ferrokeeper" ]; then
      echo "Error: $bin_dir/$script.ferrokeeper is missing; unpack the ferrokeeper -bin tarball here again." >&2
      exit 1
    fi
    if [ -f "$bin_dir/$script" ]; then
      put "$bin_dir/$script" "$script.java" || exit 1
    fi
    mv -- "$bin_dir/$script.ferrokeeper" "$bin_dir/$script" || exit 1
  done
  echo "The scripts of this home now run Ferrokeeper."
}

case ${1:-} in
  java)
    if ! java_jars; then
      echo "Error: no zookeeper-*.jar in $home/lib; this home has no Java server to go back to." >&2
      exit 1
    fi
    echo java >"$home/lib/server-implementation" || exit 1
    restore_java_scripts
    ;;
  ferrokeeper)
    restore_our_scripts
    mkdir -p -- "$home/lib" && echo ferrokeeper >"$home/lib/server-implementation" || exit 1
    ;;
  *)
    echo "Usage: $0 {java|ferrokeeper}" >&2
    exit 1
    ;;
esac
