# shellcheck shell=bash
# What scripts/peers and scripts/test share. Sourced, never run.

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
