#!/usr/bin/env bash
# Installs what the conformance suites need: Debian's ZooKeeper 3.8 (server, command-line client, C client, Curator)
# and a Python environment with kazoo and kazoo's own tests. Everything comes by package name from the ordinary
# package sources. Safe to run again: it returns at once when all is there.
#
#   tools/suites/setup.sh          into <checkout>/target/suites
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
target=$(cd "$here/../.." && pwd)/target/suites
mkdir -p "$target"

kazoo=$(sed -n 's/^kazoo==//p' "$here/requirements.txt")

# --- Debian packages -------------------------------------------------------------------------------------------
packages=(
  default-jre-headless            # runs the Java server, zkCli, Curator
  openjdk-17-jdk-headless         # `java Smoke.java` compiles on the fly
  libzookeeper-java zookeeper     # Java server and client 3.8
  zookeeper-bin                   # C client
  libcurator-framework-java libcurator-recipes-java
  libsnappy-java
  python3 python3-venv
)
missing=()
for p in "${packages[@]}"; do
  dpkg-query -W -f '${db:Status-Abbrev}' "$p" 2>/dev/null | grep -q '^ii' || missing+=("$p")
done
if [ ${#missing[@]} -gt 0 ]; then
  sudo=(); [ "$(id -u)" = 0 ] || sudo=(sudo -n)
  export DEBIAN_FRONTEND=noninteractive
  # No service of the packages may start by itself: the suites start their own servers on free ports.
  install=(apt-get install -y -q --no-install-recommends -o Dpkg::Options::=--force-confold)
  "${sudo[@]}" "${install[@]}" "${missing[@]}" >"$target/apt.log" 2>&1 || {
    "${sudo[@]}" apt-get update -q >>"$target/apt.log" 2>&1
    "${sudo[@]}" "${install[@]}" "${missing[@]}" >>"$target/apt.log" 2>&1 || { tail -30 "$target/apt.log" >&2; exit 1; }
  }
fi

# --- Python ----------------------------------------------------------------------------------------------------
stamp="$target/venv/.ready"
if ! cmp -s "$stamp" "$here/requirements.txt"; then
  rm -rf "$target/venv"
  python3 -m venv "$target/venv"
  "$target/venv/bin/pip" install -q --disable-pip-version-check -r "$here/requirements.txt" >"$target/pip.log" 2>&1 ||
    { tail -30 "$target/pip.log" >&2; exit 1; }
  cp "$here/requirements.txt" "$stamp"
fi
if [ ! -f "$target/kazoo-$kazoo/kazoo/tests/test_client.py" ]; then
  rm -rf "$target/sdist" && mkdir -p "$target/sdist"
  "$target/venv/bin/pip" download -q --disable-pip-version-check --no-deps --no-binary kazoo -d "$target/sdist" "kazoo==$kazoo" \
    >>"$target/pip.log" 2>&1 || { tail -30 "$target/pip.log" >&2; exit 1; }
  tar -xzf "$target/sdist/kazoo-$kazoo.tar.gz" -C "$target"
fi
