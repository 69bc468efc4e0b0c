# shellcheck shell=bash disable=SC2016,SC2034,SC2154  # some variables are those of run
# The collector and the server of tests/installer/run, and questions to them.

# shellcheck source=tests/booted.sh
. "$repo/tests/booted.sh"
# Nothing on a server waits for what somebody types.
exec </dev/null

work=$(mktemp -d "${TMPDIR:-/tmp}/rpcap-installer.XXXXXX")
root=$work/root
collector=rpcap-in-c$$
server=rpcap-in-s$$
url=https://10.77.0.1/tools/rpcapd
collector_pid=
markers=0
transcript=

clean_up() {
    local status=$?
    if [ "$status" -ne 0 ] && [ -s "$work/said" ]; then cat "$work/said" >&2; fi
    end_server
    # shellcheck disable=SC2046  # several processes
    kill $(jobs -p) 2>/dev/null || true
    ip netns del "$collector" 2>/dev/null || true
    ip netns del "$server" 2>/dev/null || true
    rm -rf --one-file-system "$work"
}
trap clean_up EXIT

step() { say "$*"; }

fail() {
    loud "FAILED: $*"
    tail -n 5 "$work/log" >&2 || true
    exit 1
}

# --- the network, certificates, the collector ---------------------------------------

make_lab() {
    lower=$(old_root) || exit 3
    ip netns add "$collector"
    ip netns add "$server"
    ip -n "$collector" link add c0 type veth peer name s0 netns "$server"
    ip -n "$collector" addr add 10.77.0.1/24 dev c0
    ip -n "$collector" addr add 10.77.0.3/24 dev c0
    ip -n "$server" addr add 10.77.0.2/24 dev s0
    local name
    for name in "$collector lo" "$collector c0" "$server lo" "$server s0"; do
        ip -n "${name% *}" link set "${name#* }" up
    done
    make_ca ca
    make_ca other-ca
    # The collector is 10.77.0.1; that it is 10.77.0.3, too, is not in it.
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -subj /CN=collector \
        -addext subjectAltName=IP:10.77.0.1 -CA "$work/ca.pem" -CAkey "$work/ca.key" \
        -keyout "$work/collector.key" -out "$work/collector.pem" -days 2 -x509 2>"$work/said"
    cp -r "$files" "$work/files"
    mkdir "$work/captures"
    cat >"$work/policy.toml" <<END
[output.files]
directory = "captures"

[tools]
directory = "files"
listen = "0.0.0.0:443"
cert = "collector.pem"
key = "collector.key"

[[agent]]
address = ["10.77.0.0/24"]
interfaces = ["preselected", "10.77.0.0/24"]
filter = "icmp"
END
}

make_ca() {
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -subj "/CN=$1" -x509 \
        -days 2 -keyout "$work/$1.key" -out "$work/$1.pem" 2>"$work/said"
}

start_collector() {
    ip netns exec "$collector" "$programs/rpcap" listen "$work/policy.toml" --no-table \
        >"$work/log" 2>&1 </dev/null &
    collector_pid=$!
    wait_for "the collector" grep -q "installers at https" "$work/log"
}

stop_collector() {
    kill "$collector_pid"
    wait "$collector_pid" || fail "the collector ended with $?"
    collector_pid=
    grep -q panicked "$work/log" && fail "the collector panicked"
    return 0
}

# The files were changed: lists them and has them read again.
serve_again() {
    (cd "$work/files" && rm SHA256SUMS && sha256sum -- * >"$work/sums" && mv "$work/sums" SHA256SUMS)
    kill -HUP "$collector_pid"
    wait_for "the policy" grep -q "policy was read again" "$work/log"
}

# Waits until a packet that reaches the server comes to be in the collector's files.
packets_arrive() {
    local marker
    markers=$((markers + 1))
    marker=$(printf 'packet%02d' "$markers")
    wait_for "packets at the collector" packet_arrives "$marker"
}

packet_arrives() {
    ip netns exec "$collector" ping -q -c 1 -W 1 -p "$(printf %s "$1" | od -An -tx1 | tr -d ' \n')" \
        10.77.0.2 >/dev/null || return 1
    grep -rqaF "$1" "$work/captures"
}

# --- the server ---------------------------------------------------------------------

# A server as it was made, with the CA's certificate and no daemon.
fresh() {
    end_server
    mkdir -p "$root" "$work/upper" "$work/over"
    mount -t overlay overlay -o "lowerdir=$lower,upperdir=$work/upper,workdir=$work/over" "$root"
    cp "$work/ca.pem" "$root/root/"
}

end_server() {
    if [ -n "$machine" ]; then
        # nspawn, when it is killed, leaves its first process behind.
        kill -KILL ${leader:+"$leader"} "$machine" 2>/dev/null || true
        wait "$machine" 2>/dev/null || true
    fi
    machine='' leader=''
    if mountpoint -q "$root"; then umount -l "$root"; fi
    rm -rf "$work/upper" "$work/over"
}

# Starts it, without an init system: the first process only waits for others that ended.
start_server() {
    ip netns exec "$server" unshare --mount --pid --fork --kill-child sh -euc '
        mount -t proc proc "$1/proc"
        mount --rbind /dev "$1/dev"
        mount -t tmpfs tmpfs "$1/run"
        exec chroot "$1" sh -c "while sleep 0.2; do :; done"' sh "$root" </dev/null >/dev/null &
    machine=$!
    wait_for "the server" has_leader sh
    wait_for "the server's root" inside "test -e /proc/1 && test -d /run"
}

# on COMMAND [CODE]: the same; it has to end with this exit code, 0 if none is given. What is typed
# and said goes to the transcript.
on() {
    local status=0
    inside "$1" >"$work/said" 2>&1 || status=$?
    if [ -n "$transcript" ]; then
        { printf 'server# %s\n' "$1" && cat "$work/said"; } >>"$transcript"
    fi
    [ "$status" -eq "${2-0}" ] || fail "$1: exit code $status"
    : >"$work/said"
}

# What is on its disk. Left out: what has no life beyond a boot, and what the tools for users and
# for init scripts write for themselves.
snapshot() {
    (
        cd "$root" || exit
        find . \( -path ./proc -o -path ./dev -o -path ./run -o -path ./tmp -o -path ./sys \
            -o -path ./var/log -o -path './etc/*-' -o -path ./etc/.pwd.lock \
            -o -path './etc/init.d/.depend*' \) -prune -o \( -type d -o -type l \) \
            -printf '%p %M %u %g %l\n' -o -printf '%p %M %u %g %s\n'
        find etc root usr/sbin usr/local var/lib -type f ! -path './etc/*-' -print0 |
            xargs -0 sha256sum
    ) | grep -v ' etc/[a-z]*-$' | grep -v 'etc/.pwd.lock$\|etc/init.d/.depend' | sort
}

same_as_before() {
    local now
    now=$(snapshot)
    [ "$now" = "$before" ] || fail "something is left: $(diff <(echo "$before") <(echo "$now"))"
}

# refused CODE TEXT COMMAND: it ends with this code and says this in one line, and nothing changed.
refused() {
    local status=0 was daemon
    was=$(snapshot)
    daemon=$(inside "pgrep -x rpcapd" || true)
    inside "$3" >"$work/said" 2>"$work/error" || status=$?
    [ "$status" -eq "$1" ] || fail "$3: exit code $status, not $1: $(cat "$work/error")"
    [ "$(wc -l <"$work/error")" -eq 1 ] || fail "$3: not one line: $(cat "$work/error")"
    grep -qF -- "$2" "$work/error" || fail "$3: $(cat "$work/error")"
    [ "$(snapshot)" = "$was" ] || fail "$3: changed $(diff <(echo "$was") <(snapshot))"
    [ "$(inside "pgrep -x rpcapd" || true)" = "$daemon" ] || fail "$3: another daemon runs, or none"
    : >"$work/said"
}

# What was typed and said on the first server, for people.
write_transcript() {
    local to=$repo/docs/transcripts/installer.md
    mkdir -p "$(dirname "$to")"
    {
        cat <<'END'
# A server is installed from its collector

What tests/installer/run does first, as it was typed and answered: a collector at 10.77.0.1 serves what
`scripts/installer` made, and a server (Debian 11, Debian's init scripts, no systemd) gets its daemon from there.

The collector, `rpcap listen policy.toml`, has this policy:

```toml
END
        cat "$work/policy.toml.first"
        printf '```\n\nIt says:\n\n```\n'
        grep -v capturing "$work/log" | head -n 3
        printf '```\n\nThe server, with the certificate of those who vouch for the collector in ca.pem:\n\n```\n'
        cat "$work/transcript"
        printf '```\n\nA packet that reached the server in between was in the files of the collector each time.\n'
    } >"$to"
    say "written: $to"
}

# The user that the daemon runs as.
runs_as() {
    local is
    is=$(inside "ps -o user= -C rpcapd")
    [ "$is" = "$1" ] || fail "the daemon runs as '$is', not $1"
}

# A program that only notes how it was called; called tells and forgets.
fake() {
    printf '#!/bin/sh\necho "%s $*" >>/tmp/called\n' "$1" >"$root/usr/local/bin/$1"
    chmod 755 "$root/usr/local/bin/$1"
}

called() {
    cat "$root/tmp/called"
    rm "$root/tmp/called"
}
