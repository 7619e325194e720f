# Runs a program inside a tree: enter.sh TREE [SOURCE:TARGET ...] -- PROGRAM [ARGUMENT ...]
# The namespace that this runs in ends with it, and every mount with the namespace.
set -eu
tree=$1
shift
mount --make-rprivate /
mount --bind "$tree" "$tree"
mkdir -p "$tree/proc" "$tree/dev" "$tree/tmp" "$tree/run"
mount -t proc proc "$tree/proc"
mount -t tmpfs -o mode=0755 tmpfs "$tree/dev"
for node in null zero full random urandom tty; do
    : >"$tree/dev/$node"
    mount --bind "/dev/$node" "$tree/dev/$node"
done
mkdir "$tree/dev/shm" "$tree/dev/pts"
mount -t tmpfs -o mode=1777 tmpfs "$tree/dev/shm"
ln -s /proc/self/fd "$tree/dev/fd"
ln -s /proc/self/fd/0 "$tree/dev/stdin"
ln -s /proc/self/fd/1 "$tree/dev/stdout"
ln -s /proc/self/fd/2 "$tree/dev/stderr"
mount -t tmpfs -o mode=1777 tmpfs "$tree/tmp"
mount -t tmpfs -o mode=0755 tmpfs "$tree/run"
mkdir -m 1777 "$tree/run/lock"
while [ "$1" != -- ]; do
    source=${1%%:*} target=$tree${1#*:}
    [ -e "$target" ] || if [ -d "$source" ]; then mkdir -p "$target"; else : >"$target"; fi
    mount --bind "$source" "$target"
    shift
done
shift
exec chroot "$tree" env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    HOME=/root LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive INITRD=No "$@"
