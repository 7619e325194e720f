"""The tiny guests of the tests: Debian's cloud kernel, busybox and a script.

Leaves `vmlinuz` and `initramfs` in a directory; does nothing where both are newer than what makes
them. Needs apt and its package lists, and no root. The guest is an instance of a cloud
(guest-init.sh) or the stand-in for an installer (installer-init.sh).
"""

import argparse
import lzma
import os
import pathlib
import re
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
KERNEL = "linux-image-cloud-amd64"
BUSYBOX = "busybox-static"
# What each guest's devices and file systems need; what these need in turn is found out.
MODULES = {
    "guest-init.sh": ("virtio_pci", "virtio_net"),
    "installer-init.sh": (
        "virtio_pci", "virtio_blk", "virtio_console", "vfat", "nls_cp437", "nls_ascii",
        "nls_iso8859-1", "crc32c_generic", "ext4",
    ),
}
SIGNED = b"~Module signature appended~\n"
# Below 80 the kernel does not fit, in MiB.
MEMORY = 96
# The processor is emulated inside an emulated one: what a kernel that lives for minutes does not
# need is left out, which saves a third of the boot. Most of that is ACPI, then the self-tests of
# ciphers, then the locks that would be patched away for a single processor.
COMMAND_LINE = (
    "console=ttyS0 quiet panic=-1 acpi=off cryptomgr.notests noreplace-smp nokaslr "
    "mitigations=off no_timer_check tsc=reliable"
)


class Unbuilt(Exception):
    """There is no image, for this reason."""


def run(directory: pathlib.Path, *command: str) -> str:
    line = " ".join(command)
    try:
        done = subprocess.run(command, cwd=directory, capture_output=True, text=True)
    except FileNotFoundError as error:
        raise Unbuilt(f"{line}: {error.strerror}; the guest is built on Debian") from None
    if done.returncode != 0:
        said = done.stderr.strip() or f"status {done.returncode}"
        raise Unbuilt(f"{line}: {said}; are there package lists? `apt-get update` fetches them")
    return done.stdout


def unpack(package: str, directory: pathlib.Path) -> pathlib.Path:
    """The tree of a package of this host's distribution."""
    run(directory, "apt-get", "-qq", "download", package)
    (archive,) = directory.glob(package + "_*.deb")
    tree = directory / package
    run(directory, "dpkg-deb", "-x", archive.name, tree.name)
    return tree


def kernel_package(directory: pathlib.Path) -> str:
    """What the metapackage stands for."""
    said = run(directory, "apt-cache", "depends", KERNEL)
    found = re.search(r"Depends: (linux-image-\S+)", said)
    if not found:
        raise Unbuilt(f"apt-cache names no kernel that {KERNEL} depends on: {said.strip()!r}")
    return found[1]


def modules(tree: pathlib.Path, names: tuple[str, ...]) -> dict[str, bytes]:
    """What is wanted by name, each after all that it needs."""
    files = {path.name.split(".")[0]: path for path in tree.glob("lib/modules/*/kernel/**/*.ko*")}
    ordered = {}

    def add(name):
        # What is no file is built in.
        if name in ordered or name not in files:
            return
        content = files[name].read_bytes()
        if files[name].suffix == ".xz":
            content = lzma.decompress(content)
        needs = re.search(rb"\0depends=([^\0]*)\0", content)
        for need in needs[1].decode().split(",") if needs else []:
            add(need)
        ordered[name] = without_signature(content)

    for name in names:
        add(name)
    return ordered


def without_signature(module: bytes) -> bytes:
    """The kernel loads it all the same, and has nothing to verify."""
    if not module.endswith(SIGNED):
        return module
    # Twelve bytes are before the mark; the last four of them are the signature's length.
    end = len(module) - len(SIGNED)
    return module[: end - 12 - int.from_bytes(module[end - 4 : end], "big")]


def cpio(entries: list[tuple[str, int, bytes]]) -> bytes:
    """An archive of (path, mode, content) as the kernel reads it; its name is "newc"."""
    archive = bytearray()
    for number, (path, mode, content) in enumerate([*entries, ("TRAILER!!!", 0, b"")]):
        name = path.encode() + b"\0"
        # inode, mode, owner, group, links, time, size, devices' numbers, size of name, checksum
        fields = (number, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name), 0)
        archive += b"070701" + b"".join(b"%08X" % field for field in fields)
        for part in (name, content):
            archive += part
            archive += bytes(-len(archive) % 4)
    return bytes(archive)


def initramfs(kernel: pathlib.Path, busybox: pathlib.Path, script: str) -> bytes:
    """Not compressed: to copy it is less work for the guest than to unpack it."""
    entries = [(name, 0o040755, b"") for name in ("bin", "dev", "modules", "proc", "sys")]
    entries.append(("bin/busybox", 0o100755, (busybox / "bin/busybox").read_bytes()))
    entries.append(("init", 0o100755, (HERE / script).read_bytes()))
    for place, (name, content) in enumerate(modules(kernel, MODULES[script]).items()):
        entries.append((f"modules/{place:02}-{name}.ko", 0o100644, content))
    return cpio(entries)


def is_built(directory: pathlib.Path, script: str) -> bool:
    outputs = [directory / name for name in ("vmlinuz", "initramfs")]
    if not all(output.exists() for output in outputs):
        return False
    oldest = min(output.stat().st_mtime for output in outputs)
    return all(oldest >= (HERE / name).stat().st_mtime for name in ("guest.py", script))


def build(directory: pathlib.Path, script: str) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="guest-") as scratch:
        scratch = pathlib.Path(scratch)
        kernel = unpack(kernel_package(scratch), scratch)
        (image,) = kernel.glob("boot/vmlinuz-*")
        made = {
            "vmlinuz": image.read_bytes(),
            "initramfs": initramfs(kernel, unpack(BUSYBOX, scratch), script),
        }
    for name, content in made.items():
        half = directory / (name + ".tmp")
        half.write_bytes(content)
        os.replace(half, directory / name)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=pathlib.Path, metavar="DIRECTORY")
    parser.add_argument("--script", choices=sorted(MODULES), default="guest-init.sh")
    arguments = parser.parse_args()
    directory, script = arguments.directory, arguments.script
    try:
        if not is_built(directory, script):
            build(directory, script)
    except Unbuilt as error:
        print(f"no guest: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
