# shellcheck shell=bash disable=SC2154 # repo
# A clean Debian for tests/packages/run and tests/containers/ansible: made, asked, removed again.

# shellcheck source=tests/booted.sh
. "$repo/tests/booted.sh"

# What the system has beyond the least: itself as process 1, what the packages depend on, so that nothing has to be
# downloaded, and what the test looks with.
contents=systemd,systemd-sysv,dbus,libpcap0.8,libpam-runtime,lsb-base,iproute2,procps
mirror=${RPCAP_MIRROR:-http://deb.debian.org/debian}

work=$(mktemp -d "${TMPDIR:-/tmp}/rpcap-packages.XXXXXX")
root=$work/root
server=rpcap-pk-s$$
client=rpcap-pk-c$$
transcript=$work/transcript
: >"$transcript"

clean_up() {
    local pid
    # shellcheck disable=SC2046 # several processes
    kill $(jobs -p) 2>/dev/null || true
    shut_down
    for pid in "$server" "$client"; do
        ip netns del "$pid" 2>/dev/null || true
    done
    rm -rf "$work"
}
trap clean_up EXIT

step() { say "$SECONDS s: $*"; }

fail() {
    loud "FAILED: $*"
    if [ -n "$leader" ]; then inside "journalctl --no-pager -n 60 -o cat" >&2 || true; fi
    exit 1
}

# Unpacks a system; debootstrap makes it once, and again when what is asked of it changes.
make_root() {
    local release tarball
    release=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)
    tarball=$(cache_root)/root/$(printf '%s\n' "$release" "$(uname -m)" "$contents" | digest).tar.zst
    lock "$tarball"
    if [ ! -e "$tarball" ]; then
        say "making a clean $release, a minute or two"
        debootstrap --variant=minbase --include="$contents" "$release" "$work/new" "$mirror" >"$work/log" 2>&1 ||
            fail "debootstrap: $(tail -n 20 "$work/log")"
        rm -f "$work"/new/var/cache/apt/archives/*.deb "$work"/new/etc/resolv.conf
        tar --zstd -C "$work/new" -cf "$tarball.new" .
        mv "$tarball.new" "$tarball"
        rm -rf "$work/new"
    fi
    exec 9>&-
    mkdir "$root"
    tar --zstd -C "$root" -xf "$tarball"
}

# The server's interface is host0, 10.9.0.1; the client's is c0, 10.9.0.2.
make_network() {
    ip netns add "$server"
    ip netns add "$client"
    ip -n "$server" link add host0 type veth peer name c0 netns "$client"
    ip -n "$server" addr add 10.9.0.1/24 dev host0
    ip -n "$client" addr add 10.9.0.2/24 dev c0
    ip -n "$server" link set host0 up
    ip -n "$server" link set lo up
    ip -n "$client" link set c0 up
}

# on server|client COMMAND: the same, or in the client's namespace with the peers' tcpdump and the package's rpcap; both
# what is typed and what is said goes to the transcript.
on() {
    local status=0
    printf '%s# %s\n' "$1" "$2" >>"$transcript"
    case $1 in
        server) inside "$2" ;;
        client)
            PATH=${RPCAP_PEERS:+$RPCAP_PEERS/bin:}$root/usr/bin:$PATH \
                ip netns exec "$client" timeout 60 "$BASH" -c "$2"
            ;;
    esac >"$work/said" 2>&1 </dev/null || status=$?
    cat "$work/said" >>"$transcript"
    cat "$work/said"
    [ "$status" -eq 0 ] || fail "$2: exit code $status"
}

shut_down() {
    if [ -n "$leader" ]; then
        inside "systemctl poweroff" >/dev/null 2>&1 || true
    fi
    if [ -n "$machine" ]; then
        timeout 20 tail --pid="$machine" -f /dev/null || kill -KILL "$machine" 2>/dev/null || true
        wait "$machine" 2>/dev/null || true
    fi
    machine=
    leader=
}

# Whether packets have come to rpcap-listen since it was started.
delivered() {
    socat -T 2 - "UNIX-CONNECT:/proc/$leader/root/run/rpcap/listen.sock" 2>/dev/null </dev/null |
        grep -q '"delivered":[1-9]'
}

# Every file that a package could have put there; what apt, dpkg and the booted system keep for themselves changes anyway.
files_of_root() {
    (cd "$root" && find . -xdev \( -path ./var/lib/apt -o -path ./var/lib/dpkg -o -path ./var/cache -o -path ./var/log \
        -o -path ./run -o -path ./tmp -o -path ./dev -o -path ./proc -o -path ./sys -o -path ./var/lib/systemd \
        -o -name '*.cache' -o -name '.updated' -o -name '*-' -o -path ./etc/machine-id -o -name '.pwd.lock' \) -prune \
        -o -printf '%y %M %U %G %p\n' | sort -k 5)
}

# Runs a program in the system, which is not booted, in the server's network.
chroot_command() {
    # shellcheck disable=SC2016 # for the shell inside
    ip netns exec "$server" unshare --pid --fork --kill-child --mount "$BASH" -c '
        mount -t proc proc "$1/proc" && mount -t tmpfs -o mode=755 tmpfs "$1/run" && mount --bind /dev "$1/dev"
        exec chroot "$1" env -i LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive \
            PATH=/usr/sbin:/usr/bin:/sbin:/bin "$2"' - "$root" "$1"
}

write_transcript() {
    [ -n "${RPCAP_BLESS-}" ] || return 0
    {
        echo "# From nothing to a capture, with Debian's package"
        echo
        echo "What \`scripts/packages test\` typed and saw, on a clean Debian $(cat "$root/etc/debian_version") with systemd as its"
        echo "first process, and on a client in another network namespace with a tcpdump that has remote capture. In CI the"
        echo "same is done every time, and more: upgrades, socket activation, active mode, init scripts, RPM."
        echo
        echo '```'
        # dpkg's progress is for terminals.
        sed 's/^(Reading database .*(Reading/(Reading/' "$transcript"
        echo '```'
    } >"$repo/docs/transcripts/debian-package.md"
}
