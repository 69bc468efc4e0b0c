#!/bin/sh
# Installs rpcapd, a packet forwarder that calls a collector, on a Linux server.
#
#   curl -fsS --cacert ca.pem https://COLLECTOR/tools/rpcapd/install-rpcapd.sh |
#       sh -s -- --cacert ca.pem COLLECTOR 2003
#
# POSIX sh; nothing is asked. Everything is fetched and checked before anything
# is changed, and what does not start is undone. "usage" below has the rest.

# All of it is in functions and the last line calls them, so that half of a
# script that a connection brought before it broke does nothing.

set -eu

name=install-rpcapd
program=/usr/sbin/rpcapd
toml=/etc/rpcapd.toml
ini=/etc/rpcapd.ini
pid_file=/run/rpcapd.pid
user=rpcapd
# What was installed, for --uninstall.
state=/var/lib/rpcapd
manifest=$state/installed

usage() {
    cat <<'END'
usage: install-rpcapd.sh [options] HOST PORT [-- ARGUMENT...]
       install-rpcapd.sh [options] -k
       install-rpcapd.sh --uninstall [-k]

Installs or upgrades rpcapd, has it started now and with the system, and lets
it call the collector at HOST and PORT. ARGUMENTs are given to the daemon.
A configuration that names that collector stays as it is; another one is kept
beside the new one as rpcapd.toml.old.

  -u URL         fetch from there, not from https://HOST/tools/rpcapd/
  -i DIRECTORY   install the files in it, fetch nothing
  -o DIRECTORY   fetch into it, install nothing (later: -i)
  -c             write the configuration only
  -k             keep the configuration, whatever it says
  -h             print this
  --cacert FILE  trust servers whose certificate one in this file (PEM) vouches
                 for, not those that the system trusts
  --sums SHA256  take only files of the SHA256SUMS that has this checksum; the
                 collector prints it when it starts
  --init SYSTEM  systemd, openrc, debian, sysv or none, not the one that is found
  --uninstall    remove all of it; with -k not the configuration

Exit codes: 0 done; 1 failed, and undone; 2 wrong usage; 3 not root;
4 cannot fetch; 5 a checksum is wrong; 6 this system is not supported.
END
}

say() { printf '%s: %s\n' "$name" "$*"; }

fail() {
    code=$1
    shift
    printf '%s: error: %s\n' "$name" "$*" >&2
    exit "$code"
}

wrong() { fail 2 "$*; see -h"; }

has() { command -v "$1" >/dev/null 2>&1; }

# --- the command line ---------------------------------------------------------

parse() {
    url='' from='' to='' config_only='' keep='' cacert='' sums='' init='' uninstall=''
    while [ $# -gt 0 ]; do
        case $1 in
            -u | -i | -o | --cacert | --sums | --init)
                [ $# -ge 2 ] || wrong "$1 wants a value"
                case $1 in
                    -u) url=${2%/} ;;
                    -i) from=$2 ;;
                    -o) to=$2 ;;
                    --cacert) cacert=$2 ;;
                    --sums) sums=$2 ;;
                    --init) init=$2 ;;
                esac
                shift 2
                ;;
            -c) config_only=yes && shift ;;
            -k) keep=yes && shift ;;
            --uninstall) uninstall=yes && shift ;;
            -h | --help)
                usage
                exit 0
                ;;
            --)
                shift
                break
                ;;
            -*) wrong "there is no option $1" ;;
            *) break ;;
        esac
    done
    host='' port='' arguments=''
    if [ $# -ge 1 ] && [ "$1" != -- ]; then
        [ $# -ge 2 ] || wrong "the collector's port is missing"
        host=$1 port=$2
        shift 2
    fi
    [ "${1-}" != -- ] || shift
    for argument in "$@"; do
        # They go into files that have quoting rules of their own.
        case $argument in
            '' | *[!A-Za-z0-9_./:,=@+*!-]*)
                wrong "argument '$argument': such characters only in $toml"
                ;;
        esac
        arguments="$arguments $argument"
    done
    check_values
}

check_values() {
    case $host in
        *[!A-Za-z0-9._:-]* | -*) wrong "HOST '$host' is no name and no address" ;;
    esac
    if [ -n "$host" ]; then
        case $port in
            '' | *[!0-9]* | ??????*) wrong "PORT '$port' is no number" ;;
        esac
        if [ "$port" -lt 1 ] || [ "$port" -gt 65535 ]; then wrong "PORT is 1 to 65535"; fi
    elif [ -z "$keep$uninstall$to" ]; then
        wrong "HOST and PORT are missing"
    fi
    [ -z "$from" ] || [ -z "$to" ] || wrong "-i or -o, not both"
    [ -z "$config_only" ] || [ -z "$keep" ] || wrong "-c or -k, not both"
    [ -z "$config_only" ] || [ -n "$host" ] || wrong "-c wants HOST and PORT"
    [ -z "$cacert" ] || [ -r "$cacert" ] || wrong "--cacert: cannot read $cacert"
    case $sums in
        '') ;;
        *[!0-9a-fA-F]*) wrong "--sums wants 64 hexadecimal digits" ;;
        *) [ ${#sums} -eq 64 ] || wrong "--sums wants 64 hexadecimal digits" ;;
    esac
    case $init in
        '' | systemd | openrc | debian | sysv | none) ;;
        *) wrong "--init: there is no $init" ;;
    esac
}

# --- this system --------------------------------------------------------------

look_around() {
    [ "$(uname -s)" = Linux ] || fail 6 "this is $(uname -s); only Linux is supported"
    case $(uname -m) in
        x86_64 | amd64) binary=rpcapd-64bit-linux ;;
        aarch64 | arm64) binary=rpcapd-arm64-linux ;;
        *) fail 6 "there is no rpcapd for $(uname -m)" ;;
    esac
    if [ -z "$init" ]; then
        if [ -d /run/systemd/system ]; then
            init=systemd
        elif [ -d /run/openrc ] && has rc-service; then
            init=openrc
        elif has start-stop-daemon && has update-rc.d; then
            init=debian
        elif has chkconfig; then
            init=sysv
        else
            init=none
        fi
    fi
    service='' service_mode=755
    case $init in
        systemd) unit=rpcapd.service service=/etc/systemd/system/rpcapd.service service_mode=644 ;;
        openrc) unit=rpcapd.openrc service=/etc/init.d/rpcapd ;;
        debian) unit=rpcapd.debianinit service=/etc/init.d/rpcapd ;;
        sysv) unit=rpcapd.sysvinit service=/etc/init.d/rpcapd ;;
        none) unit='' ;;
    esac
}

# A package's files are the package manager's.
no_package() {
    [ -e "$program" ] || return 0
    owner=''
    if has dpkg && dpkg -S "$program" >/dev/null 2>&1; then owner=dpkg; fi
    if has rpm && rpm -qf "$program" >/dev/null 2>&1; then owner=rpm; fi
    [ -z "$owner" ] || fail 6 "$program belongs to a package of $owner: upgrade or remove that"
}

# --- what is installed --------------------------------------------------------

sha256() {
    if has sha256sum; then
        sha256sum "$1" | cut -d ' ' -f 1
    elif has openssl; then
        openssl dgst -sha256 "$1" | sed 's/.*= *//'
    else
        fail 6 "neither sha256sum nor openssl is there: files cannot be checked"
    fi
}

choose_fetcher() {
    case $url in
        https://*) ;;
        *://*) [ -n "$sums" ] || wrong "-u: only https, unless --sums says what is right" ;;
        *) wrong "-u: '$url' is no URL" ;;
    esac
    if has curl; then
        fetcher=curl
    elif ! has wget; then
        fail 4 "neither curl nor wget is there: fetch with -o elsewhere, then use -i here"
    elif wget --version 2>/dev/null | grep -q '^GNU Wget'; then
        fetcher=wget
    elif [ -n "$sums" ]; then
        fetcher=busybox
    else
        # It does not look at certificates.
        fail 4 "this wget does not check certificates: install curl, or use --sums"
    fi
}

# fetch FILE: from $url into $files.
fetch() {
    case $fetcher in
        curl) set -- "$1" curl --fail --silent --show-error --connect-timeout 20 --max-time 600 \
            ${cacert:+--cacert "$cacert"} --output "$files/$1" "$url/$1" ;;
        wget) set -- "$1" wget --no-verbose --tries=2 --timeout=30 --max-redirect=0 \
            ${cacert:+"--ca-certificate=$cacert"} --output-document="$files/$1" "$url/$1" ;;
        busybox) set -- "$1" wget -q -T 30 -O "$files/$1" "$url/$1" ;;
    esac
    wanted=$1
    shift
    "$@" 2>"$work/said" </dev/null ||
        fail 4 "cannot fetch $url/$wanted: $(tr '\n' ' ' <"$work/said")"
}

# check FILE: that it is the one that SHA256SUMS lists.
check() {
    [ -f "$files/$1" ] || fail 4 "$files has no $1"
    listed=$(sed -n "s/^\([0-9a-fA-F]\{64\}\) [ *]$1\$/\1/p" "$files/SHA256SUMS" | head -n 1)
    [ -n "$listed" ] || fail 5 "SHA256SUMS does not list $1"
    same "$listed" "$(sha256 "$files/$1")" ||
        fail 5 "$1 has another checksum than SHA256SUMS lists: it was damaged or exchanged"
}

same() { [ "$(printf %s "$1" | tr A-F a-f)" = "$(printf %s "$2" | tr A-F a-f)" ]; }

# Has what is needed in $files, checked.
gather() {
    if [ -n "$from" ]; then
        files=$from
        [ -f "$files/SHA256SUMS" ] || fail 4 "$files has no SHA256SUMS"
    else
        files=${to:-$work/files}
        mkdir -p "$files"
        if [ -z "$url" ]; then
            [ -n "$host" ] || wrong "without HOST and -i, -u is wanted"
            case $host in
                *:*) url="https://[$host]/tools/rpcapd" ;;
                *) url="https://$host/tools/rpcapd" ;;
            esac
        fi
        choose_fetcher
        say "fetching from $url"
        fetch SHA256SUMS
    fi
    if [ -n "$sums" ]; then
        same "$sums" "$(sha256 "$files/SHA256SUMS")" ||
            fail 5 "SHA256SUMS is not the one that --sums says"
    fi
    for file in "$@"; do
        [ -n "$from" ] || fetch "$file"
        check "$file"
    done
}

fetch_only() {
    wanted_files="install-rpcapd.sh $binary"
    for file in rpcapd.service rpcapd.openrc rpcapd.debianinit rpcapd.sysvinit; do
        wanted_files="$wanted_files $file"
    done
    # shellcheck disable=SC2086  # names without spaces
    gather $wanted_files
    say "fetched into $to; to install: sh $to/install-rpcapd.sh -i $to HOST PORT"
}

# --- the service --------------------------------------------------------------

# control start|stop|enable|disable, by the init system.
control() {
    case $init:$1 in
        systemd:enable) systemctl daemon-reload && systemctl --quiet enable rpcapd.service ;;
        systemd:disable) systemctl --quiet disable rpcapd.service ;;
        systemd:*) systemctl "$1" rpcapd.service ;;
        openrc:enable) rc-update -q add rpcapd default ;;
        openrc:disable) rc-update -q -a delete rpcapd ;;
        openrc:*) rc-service -q rpcapd "$1" ;;
        debian:enable) update-rc.d rpcapd defaults ;;
        debian:disable) rm -f "$service" && update-rc.d rpcapd remove ;;
        sysv:enable) chkconfig --add rpcapd ;;
        sysv:disable) chkconfig --del rpcapd ;;
        debian:* | sysv:*) "$service" "$1" ;;
        none:start) start_process ;;
        none:stop) stop_process ;;
        none:*) ;;
    esac >"$work/said" 2>&1 </dev/null
}

start_process() {
    # shellcheck disable=SC2086  # checked, and without spaces
    "$program" -d -f "$config" --pid-file "$pid_file" $arguments
}

said() { tr '\n' ' ' <"$work/said"; }

running_pid() {
    [ -r "$pid_file" ] || return 1
    pid=$(cat "$pid_file")
    # Of a daemon that was killed the file is left.
    case $(readlink "/proc/$pid/exe" 2>/dev/null) in
        "$program" | "$program (deleted)") ;;
        *) return 1 ;;
    esac
}

stop_process() {
    running_pid || return 0
    kill "$pid" 2>/dev/null || return 0
    waited=0
    while running_pid; do
        waited=$((waited + 1))
        [ "$waited" -le 30 ] || kill -9 "$pid"
        [ "$waited" -le 35 ] || return 1
        sleep 1
    done
}

# A daemon that says that it has begun may still end.
is_up() {
    sleep 1
    case $init in
        systemd) systemctl --quiet is-active rpcapd.service ;;
        *) running_pid ;;
    esac
}

add_user() {
    if grep -q "^$user:" /etc/passwd || { has getent && getent passwd "$user" >/dev/null; }; then
        return 0
    fi
    shell=/bin/false
    [ ! -x /usr/sbin/nologin ] || shell=/usr/sbin/nologin
    if has useradd; then
        useradd --system --user-group --no-create-home --home-dir /nonexistent --shell "$shell" "$user"
    elif has adduser; then
        addgroup -S "$user" && adduser -S -D -H -h /nonexistent -s "$shell" -G "$user" "$user"
    else
        fail 1 "cannot add the user $user: neither useradd nor adduser is there"
    fi >"$work/said" 2>&1 || fail 1 "cannot add the user $user: $(said)"
    new_user=yes
}

remove_user() {
    if has userdel; then
        userdel "$user"
    else
        deluser "$user"
    fi >/dev/null 2>&1 || true
    # Some systems leave it.
    if grep -q "^$user:" /etc/group; then
        { has groupdel && groupdel "$user"; } || { has delgroup && delgroup "$user"; } || true
    fi >/dev/null 2>&1
}

# --- changes, and undoing them ------------------------------------------------

# Places that may change, for undo: each is copied, or noted as not there.
remember() {
    saved=0
    : >"$work/places"
    for place in "$program" "$toml" "$toml.old" "$manifest" "$service"; do
        [ -n "$place" ] || continue
        saved=$((saved + 1))
        [ ! -e "$place" ] || cp -p "$place" "$work/saved.$saved"
        printf '%s\n' "$place" >>"$work/places"
    done
}

undo() {
    changed=''
    control stop || true
    [ -n "$was_enabled" ] || control disable || true
    saved=0
    while read -r place; do
        saved=$((saved + 1))
        if [ -e "$work/saved.$saved" ]; then
            put "$work/saved.$saved" "$place"
        else
            rm -f "$place"
        fi
    done <"$work/places"
    [ -n "$had_state" ] || rmdir "$state" 2>/dev/null || true
    [ "$init" != systemd ] || systemctl daemon-reload || true
    [ -z "$new_user" ] || remove_user
    if [ -n "$was_running" ]; then
        config=$old_config arguments=$old_arguments
        control start || true
    fi
}

# put FILE PLACE: in one step, and with the file's mode and time.
put() {
    cp -p "$1" "$2.new.$$"
    mv -f "$2.new.$$" "$2"
}

clean_up() {
    code=$?
    trap '' INT TERM HUP
    [ -z "$changed" ] || undo
    rm -f "$program.new.$$" "$toml.new.$$"
    [ -z "$work" ] || rm -rf "$work"
    exit "$code"
}

# --- the configuration --------------------------------------------------------

# Which file, and whether it is written: $config, $write_config.
choose_config() {
    config=$toml write_config=yes
    if [ -n "$keep" ] && [ -e "$toml" ]; then
        write_config=''
    elif [ -n "$keep" ] && [ -e "$ini" ]; then
        config=$ini write_config=''
    elif [ -e "$toml" ] && grep -qF "\"$host,$port\"" "$toml"; then
        write_config=''
    fi
    [ -z "$write_config" ] || [ -n "$host" ] || fail 2 "there is no configuration to keep: HOST and PORT are wanted"
    new_config=$work/rpcapd.toml
    [ -z "$write_config" ] || cat >"$new_config" <<END
# Written by install-rpcapd.sh. What can be said here: rpcapd.toml(5).
# The daemon listens for nobody. It calls its collector, which gives no password.
active-only = true
null-auth = true
active = ["$host,$port"]
END
}

write_config() {
    if [ -z "$write_config" ]; then
        say "$config is kept"
        return 0
    fi
    [ ! -e "$toml" ] || put "$toml" "$toml.old"
    put "$new_config" "$toml"
    say "$toml is written: calls $host, port $port"
}

# --- installing ---------------------------------------------------------------

# The daemon's own opinion, of the program that is to run it.
try() {
    candidate=$config
    [ -z "$write_config" ] || candidate=$new_config
    "$1" --version >"$work/said" 2>&1 ||
        fail 6 "rpcapd does not run on this system: $(said)"
    version=$(cat "$work/said")
    # shellcheck disable=SC2086  # checked, and without spaces
    "$1" print-config -f "$candidate" $arguments >"$work/said" 2>&1 ||
        fail 1 "rpcapd does not take its configuration: $(said)"
    if [ -z "$write_config" ]; then
        "$1" check-config "$candidate" >"$work/said" 2>&1 ||
            fail 1 "rpcapd does not take its configuration: $(said)"
    fi
}

write_service() {
    [ -n "$service" ] || return 0
    # The two forms in which they say how the daemon is started.
    sed -e "s|^ExecStart=.*|ExecStart=$program -f $config$arguments|" \
        -e "s|^CONFIG=.*|CONFIG=$config|" -e "s|^OPTIONS=.*|OPTIONS=\"${arguments# }\"|" \
        -e '/^Also=rpcapd.socket/d' "$files/$unit" >"$work/service"
    chmod "$service_mode" "$work/service"
    mkdir -p "$(dirname "$service")"
    put "$work/service" "$service"
}

# What an installation before this one left, to go on from it or back to it.
look_back() {
    was_running='' was_enabled='' had_state='' old_config=$toml old_arguments=''
    [ ! -d "$state" ] || had_state=yes
    if [ -r "$manifest" ]; then
        was_enabled=yes
        new_user=$(sed -n 's/^user //p' "$manifest")
        old_config=$(sed -n 's/^config //p' "$manifest")
        old_arguments=$(sed -n 's/^arguments//p' "$manifest")
    fi
    # The user stays if all of this is undone.
    old_user=$new_user new_user=''
    if [ "$init" = systemd ]; then
        if systemctl --quiet is-active rpcapd.service; then was_running=yes; fi
    elif running_pid; then
        was_running=yes
    fi
}

# Another daemon of this name, started by a script of its own.
stop_stranger() {
    [ ! -r "$manifest" ] && [ -x /etc/init.d/rpcapd ] || return 0
    /etc/init.d/rpcapd stop >/dev/null 2>&1 </dev/null || true
    [ "$service" != /etc/init.d/rpcapd ] || return 0
    if has update-rc.d; then
        update-rc.d rpcapd disable >/dev/null 2>&1 || true
    elif has chkconfig; then
        chkconfig rpcapd off >/dev/null 2>&1 || true
    fi
    say "/etc/init.d/rpcapd was stopped and is not started any more"
}

write_manifest() {
    mkdir -p "$state"
    {
        printf 'init %s\nconfig %s\narguments%s\n' "$init" "$config" "$arguments"
        [ -z "$new_user$old_user" ] || printf 'user %s\n' yes
        [ -z "$service" ] || printf 'file %s\n' "$service"
        printf 'file %s\n' "$program"
    } >"$manifest.new"
    mv -f "$manifest.new" "$manifest"
}

install() {
    choose_config
    # shellcheck disable=SC2086  # $unit may be nothing
    gather "$binary" $unit
    # Beside its place: it has to be executable, and /tmp often is not for that.
    cp "$files/$binary" "$program.new.$$"
    chmod 755 "$program.new.$$"
    try "$program.new.$$"
    look_back
    remember
    changed=yes
    add_user
    stop_stranger
    if [ -n "$was_running" ]; then
        control stop || fail 1 "cannot stop the rpcapd that runs: $(said)"
    fi
    mv -f "$program.new.$$" "$program"
    write_config
    write_service
    write_manifest
    control enable || fail 1 "cannot have rpcapd started with the system: $(said)"
    control start || fail 1 "rpcapd does not start: $(said)"
    is_up || fail 1 "rpcapd ended right after its start; see the system's log"
    changed=''
    say "$version is installed and runs ($init)"
    [ "$init" != none ] || say "no init system is known: rpcapd is not started with the system"
}

config_only() {
    [ -x "$program" ] || fail 1 "$program is not there: install it first, without -c"
    choose_config
    [ -n "$write_config" ] || {
        say "$config is kept"
        return 0
    }
    try "$program"
    look_back
    arguments=${arguments:-$old_arguments}
    remember
    changed=yes
    was_enabled=yes
    write_config
    [ -z "$was_running" ] || control stop || fail 1 "cannot stop the rpcapd that runs: $(said)"
    control start || fail 1 "rpcapd does not start: $(said)"
    is_up || fail 1 "rpcapd ended right after its start; see the system's log"
    changed=''
}

uninstall() {
    if [ ! -r "$manifest" ]; then
        say "nothing to uninstall: $manifest is not there"
        return 0
    fi
    init=$(sed -n 's/^init //p' "$manifest")
    service=$(sed -n 's/^file \(.*\/rpcapd\.service\)$/\1/p; s/^file \(\/etc\/init\.d\/.*\)$/\1/p' "$manifest")
    control stop || fail 1 "cannot stop rpcapd: $(said)"
    control disable || fail 1 "cannot keep rpcapd from being started: $(said)"
    sed -n 's/^file //p' "$manifest" | while read -r file; do rm -f "$file"; done
    [ "$init" != systemd ] || systemctl daemon-reload
    [ -n "$keep" ] || rm -f "$toml" "$toml.old"
    ! grep -q '^user ' "$manifest" || remove_user
    rm -f "$manifest" "$pid_file"
    rmdir "$state" /run/rpcapd 2>/dev/null || true
    say "rpcapd is uninstalled"
}

main() {
    umask 022
    PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
    work='' changed='' new_user=''
    parse "$@"
    [ -n "$to" ] || [ "$(id -u)" -eq 0 ] || fail 3 "not root: use sudo"
    look_around
    trap clean_up EXIT
    trap 'exit 1' INT TERM HUP
    work=$(mktemp -d) || fail 1 "cannot make a temporary directory"
    if [ -n "$uninstall" ]; then
        uninstall
    elif [ -n "$to" ]; then
        fetch_only
    else
        no_package
        if [ -n "$config_only" ]; then config_only; else install; fi
    fi
}

main "$@"
