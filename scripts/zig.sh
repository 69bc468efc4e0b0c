# shellcheck shell=bash
# zig, a C compiler and linker for every system, from PyPI. Sourced, after
# common.sh, never run.

# With their hashes: the same tools for everybody.
zig_tools="\
cargo-zigbuild==0.24.1 --hash=sha256:238a1ab54a95053a4eadc34775c81f795a8ad75f80bfed63f3f445f518102375
ziglang==0.15.2 --hash=sha256:806316453d1ede7174ed3fefb8e5348154629089c3bb5fe812dfd0e172fac130"

get_zig() {
    say "fetching zig and cargo-zigbuild from PyPI"
    printf '%s\n' "$zig_tools" >"$1/requirements"
    python3 -m pip --quiet --disable-pip-version-check --no-input install \
        --root-user-action=ignore --require-hashes --no-deps --only-binary :all: \
        --target "$1" -r "$1/requirements"
}

# Prints the directory that has both: bin/cargo-zigbuild, ziglang/zig.
zig_root() {
    local root
    if [ "$(uname -sm)" != "Linux x86_64" ]; then
        loud "zig is pinned for Linux on x86_64; this is $(uname -sm)."
        return 3
    fi
    python3 -m pip --version >/dev/null 2>&1 || need_packages python3-pip || return 3
    root=$(kept zig "$zig_tools")
    if ! once "$root" get_zig; then
        loud "zig and cargo-zigbuild could not be fetched from PyPI: see above"
        return 3
    fi
    printf '%s\n' "$root"
}
