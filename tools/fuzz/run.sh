#!/usr/bin/env bash
# Builds the fuzzers and runs each for a short time, from its corpus on.
#
#   tools/fuzz/run.sh [TARGET...]          RK_FUZZ_SECONDS each (8); all targets by default
#   tools/fuzz/run.sh merge DIR            adds to the corpora what DIR/<target> (capture.py) reaches beyond them
#
# The corpora are kept as tools/fuzz/corpus/<target>.tar.gz and only changed by `merge`. What a run finds anew stays in
# target/fuzz/corpus and helps the next one. An input that breaks something is kept in target/fuzz/artifacts; to see it again:
#
#   RUSTC_BOOTSTRAP=1 cargo fuzz run --fuzz-dir tools/fuzz --target-dir target/fuzz/build TARGET target/fuzz/artifacts/TARGET/crash-...
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
unset CARGO_TARGET_DIR
# The sanitizer needs a compiler that lets itself be asked for more than it promises to keep; the pinned one can.
export RUSTC_BOOTSTRAP=1 PATH="$PATH:$HOME/.cargo/bin"
host=$(rustc -vV | sed -n 's/^host: //p')
built=target/fuzz/build
# A finding: an input that takes ten seconds, a process that grows beyond a gigabyte, one allocation beyond half of it.
limits=(-timeout=10 -rss_limit_mb=1024 -malloc_limit_mb=512)
input_bytes_max=24576
# What the kept corpus of one target may take, unpacked.
corpus_bytes_max=131072

# Unpacks what is kept for a target; answers where.
seeds() {
  rm -rf "target/fuzz/seeds/$1" && mkdir -p "target/fuzz/seeds/$1"
  if [ -f "tools/fuzz/corpus/$1.tar.gz" ]; then tar -xzf "tools/fuzz/corpus/$1.tar.gz" -C "target/fuzz/seeds/$1"; fi
  echo "target/fuzz/seeds/$1"
}

command -v cargo-fuzz >/dev/null || { echo "cargo-fuzz is not there: cargo install cargo-fuzz --locked"; exit 1; }
mapfile -t all < <(cargo fuzz list --fuzz-dir tools/fuzz)
if [ -z "${RK_FUZZ_BUILT:-}" ]; then
  RUSTFLAGS="" cargo fuzz build --fuzz-dir tools/fuzz --target-dir "$built"
else
  built=$RK_FUZZ_BUILT
fi

# The smallest inputs that reach what all of these reach.
merge() {
  for target in "${all[@]}"; do
    [ -d "$1/$target" ] || continue
    local merged=target/fuzz/merged/$target kept=target/fuzz/kept/$target
    rm -rf "$merged" "$kept" && mkdir -p "$merged" "$kept" tools/fuzz/corpus
    "$built/$host/release/$target" -set_cover_merge=1 "${limits[@]}" -max_len=4096 "$merged" \
      "$(seeds "$target")" "$1/$target" >"target/fuzz/merge-$target.log" 2>&1 || { tail -20 "target/fuzz/merge-$target.log"; exit 1; }
    local bytes=0 size path
    while read -r size path; do
      bytes=$((bytes + size))
      [ "$bytes" -le "$corpus_bytes_max" ] || break
      cp "$path" "$kept/"
    done < <(find "$merged" -type f -printf '%s %p\n' | sort -n)
    tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -c -C "$kept" . | gzip -9n >"tools/fuzz/corpus/$target.tar.gz"
    echo "$target: $(find "$kept" -type f | wc -l) of $(find "$merged" -type f | wc -l) inputs"
  done
}

if [ "${1:-}" = merge ]; then
  merge "$2"
  exit
fi

passed=0 failed=0
[ $# -gt 0 ] || set -- "${all[@]}"
for target in "$@"; do
  corpus=target/fuzz/corpus/$target artifacts=target/fuzz/artifacts/$target log=target/fuzz/$target.log
  mkdir -p "$corpus" "$artifacts"
  kept=$(seeds "$target")
  if "$built/$host/release/$target" "$corpus" "$kept" -max_total_time="${RK_FUZZ_SECONDS:-8}" "${limits[@]}" \
    -max_len="$input_bytes_max" -artifact_prefix="$artifacts/" -print_final_stats=1 >"$log" 2>&1; then
    passed=$((passed + 1))
  else
    failed=$((failed + 1))
    grep -a -m 3 -A 3 -E 'panicked at|ERROR: ' "$log" || true
    tail -n 12 "$log"
  fi
  printf '%-10s %s inputs in the corpus, %s runs, %s\n' "$target" "$(find "$kept" -type f | wc -l)" \
    "$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")" "$(grep -a -o 'cov: [0-9]* ft: [0-9]*' "$log" | tail -1)"
done
echo "fuzz: $passed passed, $failed failed"
[ "$failed" -eq 0 ]
