#!/bin/busybox sh
# shellcheck shell=sh
# A stand-in for Anaconda, which cannot be had here: process 1 of a tiny guest. It finds its
# kickstart by label as dracut does, speaks on the ports that Anaconda and the kickstart's scripts
# speak on, and ends in the way that the kickstart's first line asks for.

/bin/busybox --install -s /bin
mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t sysfs sys /sys
for module in /modules/*.ko; do insmod "$module"; done

# port NAME: the device of a virtio port
port() {
	for entry in /sys/class/virtio-ports/*; do
		read -r name <"$entry/name"
		[ "$name" = "$1" ] && echo "/dev/${entry##*/}"
	done
}

# from LABEL: the device whose first sector has this label, as FAT's does
from() {
	for disk in /sys/block/vd* /sys/block/vd*/vd*; do
		[ -e "$disk" ] || continue
		dd "if=/dev/${disk##*/}" bs=512 count=1 2>/dev/null | grep -q "$1 " && echo "/dev/${disk##*/}"
	done
}

disk() { for it in /sys/block/vd*; do [ "$(cat "$it/serial")" = "$1" ] && echo "/dev/${it##*/}"; done; }

# A machine that boots a medium has no such ports, and its disk no such serial number.
log=$(port org.fedoraproject.anaconda.log.0) status=$(port org.cellboot.status)
: "${log:=/dev/console}" "${status:=/dev/console}"
say() { echo "$*"; }
write() { echo "12:00:00,000 INFO $*" >"$log"; }
report() { echo "CELLBOOT $*" >"$status"; }
hang() { while :; do sleep 3600; done; }
finish() { write "anaconda:All tasks in the installation queue are done. Installation successfully finished."; }

mkdir -p /kickstart /stage2
stage2=$(sed -n 's/.*inst\.stage2=hd:LABEL=\([A-Z0-9]*\).*/\1/p' /proc/cmdline)
if ! mount -t vfat -o ro "$(from CELLBOOT)" /kickstart || ! mount -t vfat -o ro "$(from "$stage2")" /stage2 ||
	[ ! -s /stage2/images/install.img ]; then
	say "dracut-initqueue[1]: Warning: dracut-initqueue timeout"
	poweroff -f
fi
read -r ending </kickstart/ks.cfg
say "Starting installer, one moment..."
write "anaconda:/sbin/anaconda 34.25.7.5-1.el9 started."
report "BEGINS partitions"
say "Installing libgcc.x86_64 (1/3)"

case $ending in
done)
	(cd /kickstart && sha256sum -c overlay.sum) && dd if=/kickstart/overlay.tgz of="$(disk target)" conv=fsync 2>/dev/null
	report "OK compute"
	finish
	;;
"#version=RHEL9")
	# A whole kickstart: the second stage has the disk that it would make, and the overlay is laid
	# over that as the kickstart's scripts would.
	target=$(disk target)
	: "${target:=/dev/vdb}"
	gunzip -c /stage2/images/install.img | dd of="$target" bs=1M iflag=fullblock conv=fsync 2>/dev/null
	blockdev --rereadpt "$target"
	mkdir /root
	report "BEGINS finish"
	if mount -t ext4 "${target}3" /root && (cd /kickstart && sha256sum -c overlay.sum) &&
		tar -xzf /kickstart/overlay.tgz -C /root && umount /root; then
		report "OK compute"
		finish
	fi
	;;
script-fails)
	report "FAILED finish line 12: dracut --force --regenerate-all"
	write "anaconda:Error code 1 running the kickstart script at line 93"
	finish
	;;
gives-up)
	say "Non interactive installation failed: The following mandatory spokes are not completed:"
	say "The installer will now terminate."
	sleep 180
	;;
missing-package)
	write "packaging:No match for argument: openstack-nova-compute"
	hang
	;;
bad-kickstart)
	say "The following problem occurred on line 7 of the kickstart file:"
	hang
	;;
asks)
	say "Installation complete. Press ENTER to quit:"
	hang
	;;
never-reports) finish ;;
powers-off) : ;;
panics) echo c >/proc/sysrq-trigger ;;
silent) hang ;;
endless | stopped) while sleep 1; do say "still at it"; done ;;
esac
poweroff -f
