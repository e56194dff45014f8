#!/bin/bash
# Lays out the Java clients below TARGET: 3.5/, 3.9/ and own/ (ZooKeeper's own tests), each with lib/ (from Maven Central) and classes/ (this folder's sources).
#   usage: lay-out.sh TARGET
# Needs javac and mvn; takes no network where Maven's cache has the jars; does nothing where TARGET is newer than the sources.
# The caller sees to it that only one of these runs for a TARGET at a time.
set -euo pipefail
target=${1:?target folder}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
if [ -e "$target/.laid-out" ] && [ -z "$(find "$here" -newer "$target/.laid-out" -print -quit)" ]; then exit 0; fi

lay_out() { # VERSION SOURCE_FOLDER...
  local version=$1 sources=() folder
  shift
  local copy=(mvn -q -B -f "$here/pom-$version.xml" dependency:copy-dependencies -DincludeScope=runtime "-DoutputDirectory=$target/$version/lib")
  rm -rf "$target/$version/classes"
  mkdir -p "$target/$version/classes"
  "${copy[@]}" -o >/dev/null 2>&1 || "${copy[@]}" >&2
  for folder; do sources+=("$here/$folder"/*.java); done
  javac -nowarn -Xlint:-options -cp "$target/$version/lib/*" -d "$target/$version/classes" "${sources[@]}" >&2
  cp "$here/log4j.properties" "$target/$version/classes/"
}
lay_out 3.5 common core recipes
lay_out 3.9 common core modern recipes caches
lay_out own own
touch "$target/.laid-out"
