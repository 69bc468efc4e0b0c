#!/bin/sh
# The installer and what it installs, in one file: behind the last line is a
# compressed archive. Options are those of install-rpcapd.sh, without -u and -o.
#
#   sh install-rpcapd-64bit-linux.run HOST PORT
#
# Nothing is done before the archive's checksum was compared.

set -eu

lines=@LINES@
sum=@SUM@

fail() {
    printf 'install-rpcapd: error: %s\n' "$2" >&2
    exit "$1"
}

run() {
    for option in "$@"; do
        case $option in
            --) break ;;
            -u | -i | -o) fail 2 "there is nothing to fetch: $option is not for this file" ;;
        esac
    done
    work=$(mktemp -d) || fail 1 "cannot make a temporary directory"
    trap 'rm -rf "$work"' EXIT
    trap 'exit 1' INT TERM HUP
    tail -n "+$((lines + 1))" "$0" >"$work/archive" || fail 1 "cannot read $0"
    if command -v sha256sum >/dev/null 2>&1; then
        is=$(sha256sum "$work/archive" | cut -d ' ' -f 1)
    else
        is=$(openssl dgst -sha256 "$work/archive" | sed 's/.*= *//') ||
            fail 6 "neither sha256sum nor openssl is there: nothing can be checked"
    fi
    [ "$is" = "$sum" ] || fail 5 "$0 was damaged or changed: its checksum is wrong"
    mkdir "$work/files"
    gzip -dc "$work/archive" | tar -xf - -C "$work/files" || fail 1 "cannot unpack $0"
    status=0
    sh "$work/files/install-rpcapd.sh" -i "$work/files" "$@" || status=$?
    exit "$status"
}

run "$@"
