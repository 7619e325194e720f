set -Eeuo pipefail
# What is said here is what the host goes by.
port=/dev/virtio-ports/org.cellboot.status
report() { if [ -e "$port" ]; then echo "CELLBOOT $1" >"$port"; else echo "CELLBOOT $1" >/dev/console; fi; }
trap 'report "FAILED $stage line $LINENO: $BASH_COMMAND"' ERR
report "BEGINS $stage"
