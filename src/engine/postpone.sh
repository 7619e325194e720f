# mmdebstrap hook: TREE PROGRAM ... No service starts while packages are installed, and each
# program is replaced by one that does nothing.
set -eu
tree=$1
shift
nothing() {
    printf '#!/bin/sh\nexit %s\n' "$2" >"$1"
    chmod 0755 "$1"
}
nothing "$tree/usr/sbin/policy-rc.d" 101
for program in "$@"; do
    chroot "$tree" dpkg-divert --quiet --local --no-rename --divert "$program.real" --add "$program"
    mkdir -p "$tree${program%/*}"
    nothing "$tree$program" 0
done
