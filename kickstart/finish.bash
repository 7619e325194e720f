# Files belong to users that packages made: tar would fall back to numbers without a word.
for owner in "${owners[@]}"; do
    getent passwd "${owner%:*}" >/dev/null
    getent group "${owner#*:}" >/dev/null
done
tar --extract --gzip --same-owner --same-permissions \
    --file /root/cellboot-overlay.tgz --directory /
rm /root/cellboot-overlay.tgz
/usr/libexec/cellboot/firstboot --version
bake

# Units of OpenStack start over and over until they are configured; the agent enables them.
for unit in "${disable[@]}"; do
    # Each role lacks some of them; `systemctl cat` says nothing in a chroot.
    if [ -e "/usr/lib/systemd/system/$unit" ]; then systemctl disable "$unit"; fi
done
for unit in "${enable[@]}"; do systemctl enable "$unit"; done

# Anaconda installed the boot loader of the firmware that it was booted with: UEFI. A machine that
# never saw this disk boots it from the fallback path.
grub2-install --target=i386-pc "$(grub2-probe --target=disk /boot/grub2)"
test -s /boot/grub2/grub.cfg
test -s /boot/efi/EFI/BOOT/BOOTX64.EFI
test -s /boot/efi/EFI/centos/shimx64.efi
test -s /boot/efi/EFI/centos/grub.cfg

# A root disk hangs from another controller on every machine.
grep -qs 'hostonly="no"' /usr/lib/dracut/dracut.conf.d/*.conf /etc/dracut.conf.d/*.conf
dracut --force --regenerate-all
for image in /boot/initramfs-*.img; do
    for module in virtio_blk virtio_scsi ahci nvme; do
        # To the end of the list: a reader that leaves early fails the pipe.
        lsinitrd "$image" | cat - /lib/modules/*/modules.builtin | grep "/$module\.ko" >/dev/null
    done
done

# What is in the image, for its bill of materials.
mkdir -p /usr/share/cellboot
rpm --query --all --queryformat '%{NAME}\t%{EVR}\t%{ARCH}\t%{SOURCERPM}\n' |
    LC_ALL=C sort >/usr/share/cellboot/packages.tsv

# A key that a package carries is published with it: a test, an example, a self-test. One that was
# made when it was installed is not, and the build refuses it.
{ grep --recursive --files-with-matches --null --text 'PRIVATE KEY' /etc /opt /usr || true; } |
    while IFS= read -r -d '' path; do
        package=$(rpm --query --file "$path" 2>/dev/null) || continue
        changed=$(rpm --verify --nodeps --noscripts "$package") || true
        case $changed in *" $path"*) continue ;; esac
        sha256sum "$path"
    done >/usr/share/cellboot/packaged-keys.sum

# Nothing of this machine may be in the next one.
cloud-init clean --logs --seed
dnf --assumeyes clean all
(
    set -- "${remove[@]}"
{% include "remove.sh" %}
)
truncate --size 0 /etc/machine-id /etc/resolv.conf
# Not removed: some belong to who writes into them.
find /var/log -type f -exec truncate --size 0 {} +

# Anaconda labels only what it knows: not what the overlay and these commands made. setfiles asks the
# policy of the running kernel, which may be the installer's, whether it knows each label, and gives up at
# one that a package has brought since; restorecon asks nobody, and does nothing where SELinux is off.
labels=(-F -e /proc -e /sys -e /dev -e /run)
setfiles "${labels[@]}" /etc/selinux/targeted/contexts/files/file_contexts / ||
    restorecon -R "${labels[@]}" /
sync
fstrim --all --verbose || echo "the disk takes no discard: the image stays larger than it has to be"
report "OK $role"
