# mmdebstrap hook: TREE MODULE ... The initramfs holds these modules, loads those that the
# machine's hardware asks for, and is made once.
set -eu
tree=$1
shift
cat >"$tree/etc/initramfs-tools/conf.d/cellboot.conf" <<CONF
MODULES=list
COMPRESS=zstd
RESUME=none
FSTYPE=ext4
CONF
cat >"$tree/etc/initramfs-tools/hooks/cellboot" <<HOOK
#!/bin/sh
[ "\$1" = prereqs ] && exit 0
. /usr/share/initramfs-tools/hook-functions
manual_add_modules $*
HOOK
chmod 0755 "$tree/etc/initramfs-tools/hooks/cellboot"
chroot "$tree" update-initramfs.real -c -k all
