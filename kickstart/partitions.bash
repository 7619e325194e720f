# Both firmwares find their boot loader, and the root comes last so that it can grow. `part` keeps
# no order, so the partitions are made here.
target=$(readlink -f "$disk")
wipefs --all "$target"
if [ "$seed" = yes ]; then end=-17MiB; else end=100%; fi
parted --script --align optimal "$target" -- mklabel gpt \
    mkpart biosboot 1MiB 2MiB set 1 bios_grub on \
    mkpart ESP fat32 2MiB 202MiB set 2 esp on \
    mkpart root ext4 202MiB "$end"
if [ "$seed" = yes ]; then parted --script "$target" -- mkpart cidata fat32 -17MiB -1MiB; fi
udevadm settle
mapfile -t parts < <(lsblk --noheadings --paths --list --sort NAME --output NAME,TYPE "$target" |
    awk '$2 == "part" { print $1 }')
cat >/tmp/partitions.ks <<KS
ignoredisk --only-use=$target
bootloader --location=mbr --boot-drive=$target --timeout=1 --append="console=tty0 console=ttyS0,115200n8"
part biosboot --fstype=biosboot --onpart=${parts[0]}
part /boot/efi --fstype=efi --onpart=${parts[1]}
part / --fstype=ext4 --onpart=${parts[2]} --label=root
KS
