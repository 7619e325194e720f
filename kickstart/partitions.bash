# Both firmwares find their boot loader, and the root comes last so that it can grow. `part` keeps
# no order, so the partitions are made here.
target=$(readlink -f "$disk")
wipefs --all "$target"
parted --script --align optimal "$target" -- mklabel gpt \
    mkpart biosboot 1MiB 2MiB set 1 bios_grub on \
    mkpart ESP fat32 2MiB 202MiB set 2 esp on \
    mkpart root ext4 202MiB 100%
udevadm settle
cat >/tmp/partitions.ks <<KS
part biosboot --fstype=biosboot --onpart=$disk-part1
part /boot/efi --fstype=efi --onpart=$disk-part2
part / --fstype=ext4 --onpart=$disk-part3 --label=root
KS
