# The one disk of the machine that is not this medium. Of several one has to be named: what is on
# the others may be all that somebody has.
medium=$(lsblk --noheadings --nodeps --output PKNAME "$(blkid --label "$volume")")
disk=
others=
while read -r name type removable; do
    if [ "$type" = disk ] && [ "$removable" = 0 ] && [ "$name" != "/dev/$medium" ]; then
        if [ -z "$disk" ]; then disk=$name; else others="$others $name"; fi
    fi
done < <(lsblk --noheadings --nodeps --paths --output NAME,TYPE,RM)
if [ -z "$disk" ] || [ -n "$others" ]; then
    report "FAILED partitions: of the disks ${disk:-(none)}$others of this machine one has to be named; make the medium with --disk"
    exit 1
fi
