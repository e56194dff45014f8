#!/usr/bin/env bash
# Ferrokeeper: makes ferrokeeper-<version>-bin.tar.gz from a source clone: make-dist.sh OUTDIR [--as NAME]
#
# --as NAME names the file and its top folder, e.g. apache-zookeeper-3.5.7-bin for instructions written for Java's.
# The same commit and the same binary give the same bytes. Not part of the tarball itself.
#
# What is left out on purpose, because the tarball may be unpacked over a running Java home: conf/zoo.cfg and
# conf/log4j.properties (the operator's), zkCli.sh and zkTxnLogToolkit.sh (Java's, and they keep working).
set -euo pipefail

usage() {
  echo "Usage: $0 OUTDIR [--as NAME]" >&2
  exit 1
}

out_dir='' name=''
while [ $# -gt 0 ]; do
  case $1 in
    --as)
      if [ $# -lt 2 ]; then usage; fi
      name=$2
      shift
      ;;
    -*) usage ;;
    *)
      if [ -n "$out_dir" ]; then usage; fi
      out_dir=$1
      ;;
  esac
  shift
done
if [ -z "$out_dir" ]; then usage; fi

root=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
binary=${FERROKEEPER_BIN:-$root/target/release/ferrokeeper}
if [ ! -x "$binary" ]; then
  echo "Error: there is no $binary; run: cargo build --release" >&2
  exit 1
fi
version=$(sed -n 's/^version *= *"\(.*\)".*/\1/p' "$root/Cargo.toml" | head -n 1)
if [ -z "$version" ]; then
  echo "Error: no version = \"…\" line in $root/Cargo.toml" >&2
  exit 1
fi
name=${name:-ferrokeeper-$version-bin}
case $name in
  */* | .*) usage ;;
esac

stage=$(mktemp -d)
trap 'rm -rf -- "$stage"' EXIT
top="$stage/$name"
mkdir -p "$top"/{bin,conf,docs,lib}
for script in zkEnv.sh zkServer.sh zkServer-initialize.sh zkCleanup.sh zkUse.sh zkCluster.sh; do
  cp "$root/bin/$script" "$top/bin/"
done
cp "$root/conf/zoo_sample.cfg" "$top/conf/"
cp -R "$root/docs/." "$top/docs/"
cp "$root/LICENSE" "$top/LICENSE.txt"
if [ -f "$root/README.md" ]; then
  cp "$root/README.md" "$top/"
else
  echo "Warning: $root has no README.md, the tarball goes without." >&2
fi
cp "$binary" "$top/lib/ferrokeeper"
# Unpacking means "use Ferrokeeper", whatever bin/zkUse.sh was told before.
echo ferrokeeper >"$top/lib/server-implementation"
find "$top" -type f -exec chmod 644 {} +
chmod 755 "$top"/bin/* "$top/lib/ferrokeeper"

mtime=$(git -C "$root" log -1 --format=%ct 2>/dev/null || echo "${SOURCE_DATE_EPOCH:-0}")
mkdir -p "$out_dir"
tarball="$out_dir/$name.tar.gz"
# Files only: an entry for bin/ or conf/ would give the operator's own directories our owner, mode and time.
(cd "$stage" && find "$name" -type f -print0 | LC_ALL=C sort -z) |
  tar --create --directory="$stage" --null --no-recursion --files-from=- --format=gnu \
    --owner=0 --group=0 --numeric-owner --mtime="@$mtime" | gzip -9n >"$tarball.part"
mv -- "$tarball.part" "$tarball"
echo "$tarball"
