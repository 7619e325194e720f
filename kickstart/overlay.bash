# In the installer's own environment, where the volume can be mounted.
mkdir -p /run/cellboot-volume
mount -o ro "LABEL=$volume" /run/cellboot-volume
(cd /run/cellboot-volume && sha256sum --check overlay.sum)
cp /run/cellboot-volume/overlay.tgz /mnt/sysroot/root/cellboot-overlay.tgz
