# shellcheck shell=bash
# Rust's standard library for targets for which Debian has none but its source.
# Sourced, after common.sh, never run.

# Debian's compiler before rustup's: the library must be of the same version. Lists of
# packages that are not of today may have had only an older one than ours needs.
debian_rust() {
    export PATH=/usr/bin:/bin:/usr/sbin:/sbin
    unset RUSTUP_TOOLCHAIN RUSTC CARGO RUSTFLAGS
    local wanted has
    wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "${repo:?}/Cargo.toml")
    has=$(rustc --version | cut -d ' ' -f 2)
    if [ "$(printf '%s\n' "$wanted" "$has" | sort -V | head -n 1)" = "$wanted" ]; then return 0; fi
    if [ "$(id -u)" -ne 0 ]; then
        loud "rustc $has is older than $wanted. As root:" \
            "    apt-get update && apt-get install rustc-web cargo-web rust-web-src rust-web-clippy"
        return 3
    fi
    apt_update && apt_install rustc-web cargo-web rust-web-src rust-web-clippy
}

# build_library TARGET DIRECTORY: makes of the directory a sysroot. It is the only
# thing that is built with unstable options; with it plain cargo works.
build_library() {
    local target=$1 build=$2/build lib=$2/lib/rustlib/$1/lib
    say "building the standard library for $target, two minutes or three"
    mkdir -p "$build/src" "$lib" &&
        : >"$build/src/lib.rs" &&
        printf '[package]\nname = "empty"\nversion = "0.0.0"\nedition = "2021"\n[workspace]\n' \
            >"$build/Cargo.toml" &&
        (cd "$build" && RUSTC_BOOTSTRAP=1 cargo build --quiet --release \
            -Z build-std=std,panic_unwind,panic_abort,test --target "$target" --target-dir target) &&
        rm -f "$build/target/$target/release/deps"/libempty-* &&
        cp "$build/target/$target/release/deps"/*.rlib "$lib/" &&
        rm -rf "$build"
}
