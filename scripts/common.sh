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
            apt-get -q -o Acquire::Retries=3 -o DPkg::Lock::Timeout=600 update &&
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
            loud "This wants the Debian packages: ${missing[*]}"
            return 3
        fi
        apt_install "${missing[@]}"
    fi
}

# Where what is made once is kept, whatever $1 was made from ($2).
kept() {
    local cache=${XDG_CACHE_HOME:-${HOME:+$HOME/.cache}}
    cache=${cache:+$cache/rpcap}
    printf '%s/%s/%s' "${cache:-${repo:?}/target}" "$1" \
        "$(printf '%s' "$2" | sha256sum | cut -c 1-16)"
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
        --include=libpcap0.8,ca-certificates,curl,wget,busybox,iproute2,procps \
        bullseye "$1" http://deb.debian.org/debian &&
        rm -rf "$1"/var/cache/apt/* "$1"/var/lib/apt/lists/* "$1/debootstrap" &&
        chmod 755 "$1"
}
