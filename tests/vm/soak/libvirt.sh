# Debian's libvirt for this process alone, and the machines of a site made in it by the script that
# a place is handed: libvirt.sh DIRECTORY ACCELERATOR. Shows the console of the controller up to the
# agent's first line. The namespaces that this runs in end all of it.
set -eu
directory=$1 accelerator=$2
mount --make-rprivate /
for place in /run/libvirt /var/lib/libvirt /var/cache/libvirt /var/log/libvirt /etc/libvirt/qemu; do
    mkdir -p "$place"
    mount -t tmpfs -o mode=0755 tmpfs "$place"
done
mkdir -p /var/lib/libvirt/images "$directory/images"
mount --bind "$directory/images" /var/lib/libvirt/images
for bridge in br0 br1; do
    ip link add "$bridge" type bridge
    ip link set "$bridge" up
done
virtlogd --daemon
libvirtd --daemon
export LIBVIRT_DEFAULT_URI=qemu:///system
# The domain asks for what a host that is meant for it has.
if [ "$accelerator" = tcg ]; then
    sed -i "s/<domain type='kvm'>/<domain type='qemu'>/; s/host-passthrough/maximum/" "$directory"/*.xml
fi
sh "$directory/create.sh" /var/lib/libvirt/images
virsh list --all --name
virsh start controller
exec grep --max-count 1 --text '^cellboot: ' "$(virsh ttyconsole controller)"
