# shellcheck shell=bash disable=SC2154 # root, work, packages
# The RPM packages, installed by Debian's rpm into a root that is Debian's otherwise: so its package names are unknown
# there, and what the packages require is looked at as text. Sourced by tests/packages/run.

rpm_in() { rpm --root "$root" --dbpath /var/lib/rpm "$@"; }

for package in rpcapd rpcap; do
    rpm -qp --requires "$packages/$package"-*-1.*.rpm | sort -u |
        grep -Ev '^(rpmlib\(|lib(c|m|dl|pthread|rt|gcc_s)\.so|ld-linux|/bin/sh$|/usr/sbin/useradd$|config\(|rtld\(GNU_HASH\))' >"$work/requires" &&
        fail "$package requires $(cat "$work/requires")"
    rpm -qp --scripts "$packages/$package"-*-1.*.rpm | grep -v '^[a-z]* scriptlet' >"$work/scriptlets"
    bash -n "$work/scriptlets"
done

rpm_in --initdb
rpm_in --install --force-debian --nodeps "$packages"/*-1.*.rpm
rpm_in --verify --nodeps rpcapd rpcap || fail "installed, and not as packed"
for user in rpcapd rpcap; do
    chroot "$root" getent passwd "$user" | grep -q '/sbin/nologin$' || fail "no user $user"
done
[ "$(chroot "$root" stat -c '%U %G %a' /etc/rpcapd)" = "root rpcapd 750" ] || fail "/etc/rpcapd"
for page in man8/rpcapd.8 man8/rpcapd-user-add.8 man5/rpcapd.toml.5 man5/rpcapd.ini.5 man1/rpcap.1 man5/rpcap-listen.toml.5; do
    [ -s "$root/usr/share/man/$page.gz" ] || fail "no manual page $page"
done
chroot "$root" rpcap --version >/dev/null
chroot "$root" rpcapd check-config /etc/rpcapd.toml >/dev/null
chroot "$root" systemd-analyze verify --man=no --recursive-errors=no rpcapd.service rpcapd.socket rpcap-listen.service \
    >"$work/log" 2>&1 || fail "units: $(cat "$work/log")"

echo 'max-captures = 4' >>"$root/etc/rpcapd.toml"
rpm_in --upgrade --force-debian --nodeps "$packages"/*-2.*.rpm
[ "$(rpm_in --query rpcapd rpcap | grep -c -- '-2\.')" -eq 2 ] || fail "not upgraded"
grep -q '^max-captures = 4' "$root/etc/rpcapd.toml" || fail "an upgrade lost the configuration"
rpm_in --erase rpcapd rpcap 2>"$work/log" || fail "$(cat "$work/log")"
[ -e "$root/etc/rpcapd.toml.rpmsave" ] || fail "the configuration was not kept: $(cat "$work/log")"
find "$root/etc" "$root/usr" "$root/var/lib" -xdev -path "$root/var/lib/rpm" -prune -o -name '*rpcap*' -print |
    grep -v 'rpcapd.toml.rpmsave$' && fail "files are left"
rm -f "$root/etc/rpcapd.toml.rpmsave"
