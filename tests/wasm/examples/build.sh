#!/bin/sh
# Builds the example tasks from their sources, into the folder given or into this one:
#     apt install clang lld rustc libstd-rust-dev-wasm32
#     sh tests/wasm/examples/build.sh [DIR] [sha256|matmul]...
# Any clang and any Rust with the target wasm32-unknown-unknown will do; RUSTC names another rustc.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
out=${1:-$here}
[ $# -eq 0 ] || shift
[ $# -gt 0 ] || set -- sha256 matmul

for task in "$@"; do
    case $task in
    sha256)
        clang --target=wasm32 -mbulk-memory -O2 -nostdlib -Wall -Wextra -Werror \
            -Wl,--no-entry -Wl,--export=run -Wl,--strip-all -o "$out/sha256.wasm" "$here/sha256.c"
        ;;
    matmul)
        "${RUSTC:-/usr/bin/rustc}" --target wasm32-unknown-unknown --edition 2021 --crate-type cdylib \
            -O -C target-feature=+simd128 -C panic=abort -C lto -C strip=symbols \
            -o "$out/matmul.wasm" "$here/matmul.rs"
        ;;
    *)
        echo "no example $task; there are sha256 and matmul" >&2
        exit 2
        ;;
    esac
done
