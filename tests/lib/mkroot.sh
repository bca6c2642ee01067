#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# mkroot.sh DIR NAME: the root of a small machine. /usr is to be bound from this one, read-only; what else a
# systemd needs to boot in a tenth of a second is made here: /etc with this machine's users, and units masked
# that are slow or useless in a container.
set -eu
root=$1
name=$2

mkdir -p "$root"/{etc,usr,var/lib,var/log,var/tmp,tmp,run,proc,sys,dev,root,opt}
chmod 1777 "$root"/tmp "$root"/var/tmp
for dir in bin lib lib32 lib64 libx32 sbin; do
  if [ -e /usr/$dir ]; then ln -sfn usr/$dir "$root/$dir"; fi
done

for file in alternatives dbus-1 erlang group gshadow ld.so.cache ld.so.conf ld.so.conf.d login.defs nsswitch.conf \
  pam.d passwd protocols security services shadow; do
  if [ -e /etc/$file ]; then cp -a /etc/$file "$root/etc/"; fi
done
# Made by the machine's own systemd-sysusers, as on a machine where Rollcall was never installed.
sed -i '/^rollcall:/d' "$root"/etc/{passwd,group,shadow,gshadow}
# nspawn looks for it before /usr is bound.
cp -L /etc/os-release "$root/etc/os-release"
echo "$name" >"$root/etc/hostname"
printf '127.0.0.1 localhost\n127.0.1.1 %s\n::1 localhost ip6-localhost\n' "$name" >"$root/etc/hosts"
: >"$root/etc/resolv.conf"
# Fixed, so that it is no first boot.
echo "$name" | md5sum | cut -c1-32 >"$root/etc/machine-id"

mkdir -p "$root"/etc/systemd/{system,system.conf.d,journald.conf.d}
printf '[Manager]\nDefaultTimeoutStopSec=10s\n' >"$root/etc/systemd/system.conf.d/test.conf"
printf '[Journal]\nStorage=volatile\nRateLimitIntervalSec=0\n' >"$root/etc/systemd/journald.conf.d/test.conf"
cat >"$root/etc/systemd/system/default.target" <<'UNIT'
[Unit]
Description=all that a test needs
Requires=basic.target dbus.socket
After=basic.target dbus.socket
AllowIsolate=yes
UNIT
for unit in apt-daily-upgrade.timer apt-daily.timer console-getty.service container-getty@.service \
  dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service fstrim.timer getty@.service man-db.timer \
  networking.service systemd-binfmt.service systemd-firstboot.service systemd-logind.service \
  systemd-modules-load.service systemd-networkd.service systemd-remount-fs.service systemd-resolved.service \
  systemd-sysctl.service systemd-sysusers.service systemd-timesyncd.service systemd-udev-trigger.service \
  systemd-udevd.service systemd-update-utmp.service; do
  ln -sfn /dev/null "$root/etc/systemd/system/$unit"
done
