# The node that this machine is to be, where cloud-init looks for it at every boot.
udevadm settle
dd if=/run/cellboot-volume/seed.img of=/dev/disk/by-partlabel/cidata conv=fsync status=none
