#!/usr/bin/env bash
# scripts/fuzz.sh SECONDS [TARGET…]: libFuzzer on the manifest's parser and expansion, as long for each target. It works on a
# stable toolchain, since the instrumentation is LLVM's own pass; `cargo fuzz run --fuzz-dir manifest/fuzz` is the same with
# sanitizers, on nightly. What it finds is kept as corpus in the target folder; an input that panics is named at the end.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

seconds=${1:?how many seconds}
shift
targets=("${@:-manifest}")
if [[ $# -eq 0 ]]; then targets=(manifest expand); fi

if ! command -v c++ >/dev/null; then
  echo "fuzz.sh: there is no C++ compiler, which libFuzzer is built with: apt-get install g++" >&2
  exit 1
fi

folder=${CARGO_TARGET_DIR:-target}/fuzz
host=$(rustc -vV | sed -n 's/^host: //p')
flags=(--cfg fuzzing -Ccodegen-units=1 -Cpasses=sancov-module
  -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters
  -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares)
# With --target, what runs while it is built is not instrumented.
RUSTFLAGS="${flags[*]}" cargo build --quiet --release --locked --manifest-path manifest/fuzz/Cargo.toml \
  --target "$host" --target-dir "$folder"

# The table's manifests to begin with, and the schema's keys as words.
mkdir -p "$folder"/{corpus,seeds,findings}
awk -v folder="$folder/seeds" '
  /^=== / { if (file) close(file); file = sprintf("%s/%04d", folder, ++count); printf "" > file; next }
  { print > file }' manifest/tests/table/*/*.cases
sed -n 's/^ *"\([$a-zA-Z_]*\)": {$/"\1:"/p' manifest/okteto.schema.json | sort -u >"$folder/words"

for target in "${targets[@]}"; do
  mkdir -p "$folder/corpus/$target"
  echo "fuzz: $target for $seconds s"
  "$folder/$host/release/$target" -max_total_time="$seconds" -max_len=4096 -timeout=10 -rss_limit_mb=2048 \
    -verbosity=0 -print_final_stats=1 -dict="$folder/words" -artifact_prefix="$folder/findings/$target-" \
    "$folder/corpus/$target" "$folder/seeds" 2>&1 | sed '/Recommended dictionary/,/End of recommended/d'
done
