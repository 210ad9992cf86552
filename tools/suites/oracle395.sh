#!/usr/bin/env bash
# The contract's own version as an oracle, by hand: ZooKeeper 3.9.5 and Curator 5.9 for Java. No Debian package has
# them, but pyspark's source distribution carries their jars (some 450 MB to download); ./check does without.
#
#   tools/suites/oracle395.sh            into <checkout>/target/suites/jars395
#   RK_SERVER=java395 ./check wire       then run any suite against it
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
target=$(cd "$here/../.." && pwd)/target/suites
version=4.3.0
if [ -f "$target/jars395/.ready" ]; then exit 0; fi
mkdir -p "$target/pyspark" "$target/jars395"
if [ ! -f "$target/pyspark/pyspark-$version.tar.gz" ]; then
  "$target/venv/bin/pip" download -q --disable-pip-version-check --no-deps --no-binary pyspark -d "$target/pyspark" "pyspark==$version"
fi
tar -xzf "$target/pyspark/pyspark-$version.tar.gz" -C "$target/jars395" --strip-components=3 --wildcards \
  "pyspark-$version/deps/jars/zookeeper*" "pyspark-$version/deps/jars/curator*" "pyspark-$version/deps/jars/slf4j-api*" \
  "pyspark-$version/deps/jars/log4j-*" "pyspark-$version/deps/jars/netty*" "pyspark-$version/deps/jars/snappy*" \
  "pyspark-$version/deps/jars/metrics-core*" "pyspark-$version/deps/jars/commons-*" "pyspark-$version/deps/jars/jackson-*" \
  "pyspark-$version/deps/jars/guava*" "pyspark-$version/deps/jars/failureaccess*"
touch "$target/jars395/.ready"
