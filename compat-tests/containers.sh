#!/usr/bin/env bash
# The interop tests with Java in a container, in one command. Needs a container engine; where none answers it says so and ends
# well, or tries to start one first: containers.sh --start-engine (Debian, root). The image is pulled, and where no registry can
# be reached, built from what the machine has.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
image=${FERROKEEPER_ZOOKEEPER_IMAGE:-zookeeper}
tag=${FERROKEEPER_ZOOKEEPER_TAG:-3.5.7}

if ! docker info >/dev/null 2>&1; then
  if [ "${1:-}" != --start-engine ] || ! bash "$here/java/start-docker.sh"; then
    echo "SKIPPED containers: no container engine answers"
    exit 0
  fi
fi
docker image inspect "$image:$tag" >/dev/null 2>&1 || timeout 120 docker pull -q "$image:$tag" ||
  bash "$here/java/build-image.sh" "$tag"
cd "$here/.."
exec cargo test -p compat-tests --features containers --test containers
