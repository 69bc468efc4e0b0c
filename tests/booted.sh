# shellcheck shell=bash disable=SC2154 # root, server, work and fail are of those that source it
# A system of its own, in $root, in the network namespace $server: started, asked. Sourced by tests/packages/system.sh
# and tests/installer/lab.sh, after scripts/common.sh.

# The process whose child the first one of the system is, and that.
machine=
leader=

# wait_for WHAT COMMAND...
wait_for() {
    local what=$1 left=300
    shift
    until "$@"; do
        left=$((left - 1))
        [ "$left" -gt 0 ] || fail "waited in vain for $what"
        sleep 0.1
    done
}

# Starts it with systemd. It is no machine of the host's service manager, which may not be systemd. Landlock is not among
# the system calls that nspawn lets through by itself.
boot() {
    systemd-nspawn --quiet --directory="$root" --boot --register=no --keep-unit --console=read-only --link-journal=no \
        --resolv-conf=off --timezone=off \
        --network-namespace-path="/run/netns/$server" \
        --system-call-filter="landlock_create_ruleset landlock_add_rule landlock_restrict_self" >"$work/console" 2>&1 </dev/null &
    machine=$!
    wait_for "the system's first process" has_leader systemd
    wait_for "the system to be up" is_up
}

# has_leader NAME: whether there is a first process.
has_leader() { leader=$(pgrep -P "$machine" -x "$1"); }

is_up() {
    case $(inside "systemctl is-system-running" 2>/dev/null) in
        running | degraded) ;;
        *) return 1 ;;
    esac
}

# inside COMMAND: a shell's command line, in the system, in /root.
inside() {
    nsenter --target "$leader" --mount --uts --ipc --pid --net --cgroup --root \
        env -i -C /root HOME=/root LC_ALL=C.UTF-8 TERM=dumb DEBIAN_FRONTEND=noninteractive SYSTEMD_PAGER= \
        PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin sh -c "$1"
}
