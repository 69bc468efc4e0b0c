# shellcheck shell=bash
# What the scripts share. Sourced, never run.

# Everything that is told goes to standard error: the standard output of
# scripts/peers is read by other programs.
say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }

loud() {
    printf '\n' >&2
    local line
    for line in "$@"; do printf '  !!  %s\n' "$line" >&2; done
    printf '\n' >&2
}

# The packages among the arguments that are not installed, one a line.
missing_packages() {
    if ! command -v dpkg-query >/dev/null; then
        printf '%s\n' "$@"
        return
    fi
    local package
    for package in "$@"; do
        case "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" in
            installed) ;;
            *) printf '%s\n' "$package" ;;
        esac
    done
}

apt_update() {
    apt-get -q -o Acquire::Retries=3 -o DPkg::Lock::Timeout=600 update </dev/null >&2
}

# Installs the packages given. Only for root on a machine that has apt-get.
#
# - Nothing interactive: no questions of debconf, no standard input.
# - The archives go to a directory of our own: the images that containers are
#   made from delete /var/cache/apt/archives/*.deb after every run of apt and
#   dpkg, and so pull the files from under a second run beside the first.
# - apt-get update only if the install fails without it (no lists yet, or
#   lists older than the mirror), because it is the slow part.
apt_install() {
    local archives options
    archives=$(mktemp -d)
    mkdir -p "$archives/partial"
    options=(
        -q -y --no-install-recommends
        -o "Dir::Cache::archives=$archives"
        -o APT::Sandbox::User=root
        -o DPkg::Lock::Timeout=600
        -o Acquire::Retries=3
        -o Dpkg::Use-Pty=0
    )
    say "installing: $*"
    local result=0
    if ! DEBIAN_FRONTEND=noninteractive \
        apt-get "${options[@]}" install "$@" </dev/null >&2; then
        say "trying again after apt-get update"
        {
            apt_update &&
                DEBIAN_FRONTEND=noninteractive apt-get "${options[@]}" install "$@"
        } </dev/null >&2 || result=1
    fi
    rm -rf "$archives"
    return "$result"
}

# Has Debian packages installed, if they are not: for scripts whose tools only
# some of their work needs.
need_packages() {
    local missing
    mapfile -t missing < <(missing_packages "$@")
    if [ "${#missing[@]}" -gt 0 ]; then
        if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
            loud "This wants Debian's packages. As root:" \
                "    apt-get install --no-install-recommends ${missing[*]}"
            return 3
        fi
        apt_install "${missing[@]}"
    fi
}

# Where everything is kept that is slow to come by. It is outside the working tree
# on purpose: a fresh clone and a second work tree find what the first one built,
# and cargo clean does not lose it.
cache_root() {
    local cache=${XDG_CACHE_HOME:-${HOME:+$HOME/.cache}}
    cache=${cache:+$cache/rpcap}
    printf '%s' "${cache:-${repo:?}/target}"
}

# Of what is read, a short name.
digest() { sha256sum | cut -c 1-16; }

# Where what is made once is kept, whatever $1 was made from ($2).
kept() { printf '%s/%s/%s' "$(cache_root)" "$1" "$(printf '%s' "$2" | digest)"; }

# One at a time, as long as descriptor 9 is open: FILE.lock stays, as to remove it
# would let two hold a lock of the same name.
lock() {
    mkdir -p "$(dirname "$1")"
    exec 9>"$1.lock"
    if ! flock -n 9; then
        say "waiting for another one that has $1.lock"
        flock 9
    fi
}

# once DIRECTORY COMMAND...: has the command, which is given a directory to
# fill, make it, if it is not there. One at a time. (A function that is run here
# does not end at its first failure, as everywhere behind "if": it says "&&".)
once() {
    local out=$1 lock work
    shift
    [ ! -d "$out" ] || return 0
    mkdir -p "$(dirname "$out")"
    exec {lock}>"$out.lock"
    flock "$lock"
    if [ ! -d "$out" ]; then
        work=$(mktemp -d "$out.build.XXXXXX")
        if ! "$@" "$work" >&2 </dev/null; then
            rm -rf --one-file-system "$work"
            return 1
        fi
        mv "$work" "$out"
    fi
    exec {lock}>&-
}

# trimmed DIRECTORY MB: a directory for crates that are built. Those that are not
# ours stay built; ours are built again in each clone, and what earlier clones left
# is thrown away with all the rest when it is too much.
trimmed() {
    local used
    mkdir -p "$1"
    # Another one may be at work there, whose files come and go.
    used=$(du -sm "$1" 2>/dev/null | cut -f 1) || true
    if [ "${used:-0}" -gt "$2" ]; then
        rm -rf "${1:?}"
        mkdir -p "$1"
    fi
}

# cargo_tool CRATE VERSION [OPTION...]: prints a program that cargo builds, once.
cargo_tool() {
    local crate=$1 version=$2 root
    shift 2
    root=$(cache_root)/${crate#cargo-}/$version
    [ -d "$root" ] || say "building $crate $version, some minutes"
    # In a directory of its own: what was built with other flags is of no use to it.
    if ! once "$root" env -u RUSTFLAGS -u CARGO_TARGET_DIR \
        cargo install --quiet --locked --version "$version" "$@" "$crate" --root; then
        loud "$crate $version could not be built: see above"
        return 3
    fi
    printf '%s\n' "$root/bin/$crate"
}

# Prints the directory of a small system of the oldest Debian on the mirrors
# (glibc 2.31), which is made if need be. It is shared: nothing may be changed
# in it; mount an overlay over it.
old_root() {
    local root
    need_packages debootstrap || return 3
    root=$(kept roots "$(declare -f make_old_root)")
    once "$root" make_old_root || {
        loud "No root of an old Debian could be made: see above"
        return 3
    }
    printf '%s\n' "$root"
}

make_old_root() {
    say "making a root of Debian bullseye"
    debootstrap --variant=minbase \
        --include=libpcap0.8,curl,wget,busybox,iproute2,procps,lsb-base,systemd-sysv,dbus,openrc \
        bullseye "$1" "${RPCAP_MIRROR:-http://deb.debian.org/debian}" &&
        rm -rf "$1"/var/cache/apt/* "$1"/var/lib/apt/lists/* "$1/debootstrap" &&
        chmod 755 "$1"
}
