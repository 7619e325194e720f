//! GRUB for both firmwares, made with the tree's own `grub-mkimage`, put on a disk by us.
//!
//! `grub-install` wants to see the disk as a device of this machine; all that it would do here
//! is to write a few numbers into two files, which [`boot_code`] and [`core`] do.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use firstboot::cmd::Cmd;
use firstboot::files::{self, Ownership};
use uuid::Uuid;

use super::SECTOR_BYTES;

/// Where the configuration is in the root file system.
pub const CONFIGURATION: &str = "/boot/grub/grub.cfg";
/// Names inside the tree while the boot loaders are made.
const EARLY: &str = "/tmp/cellboot-grub-early.cfg";
const MADE: &str = "/tmp/cellboot-grub.img";
/// What GRUB needs to find the root file system, read the configuration and start Linux.
const MODULES: &[&str] = &[
    "part_gpt",
    "ext2",
    "normal",
    "linux",
    "search",
    "search_fs_uuid",
    "configfile",
    "test",
    "true",
    "echo",
    "ls",
    "cat",
    "serial",
    "terminal",
    "terminfo",
    "minicmd",
    "halt",
    "reboot",
    "sleep",
];
const BIOS_MODULES: &[&str] = &["biosdisk", "vga", "video"];
/// The firmware's frame buffer is handed to Linux, or the screen of a machine stays dark.
const EFI_MODULES: &[&str] = &["fat", "efi_gop", "efi_uga", "all_video"];

/// Offsets in boot.img and core.img, from GRUB's include/grub/i386/pc/boot.h.
const BOOT_CODE_BYTES: usize = 440;
const BOOT_KERNEL_SECTOR: usize = 0x5c;
const BOOT_DRIVE_CHECK: usize = 0x66;
const CORE_BLOCK_LIST: usize = 0x1f4;

/// The boot loaders of an image, as `grub-mkimage` made them: not yet bound to a place on disk.
#[derive(Debug, Clone, PartialEq)]
pub struct BootFiles {
    /// The first sector of a BIOS disk.
    pub boot_img: Vec<u8>,
    /// What it loads.
    pub core_img: Vec<u8>,
    /// What UEFI firmware loads.
    pub efi: Vec<u8>,
}

const FILE_NAMES: [&str; 3] = ["boot.img", "core.img", "BOOTX64.EFI"];

impl BootFiles {
    /// Keeps them in a directory.
    pub fn save(&self, directory: &Path) -> Result<()> {
        for (name, bytes) in FILE_NAMES
            .iter()
            .zip([&self.boot_img, &self.core_img, &self.efi])
        {
            files::replace(&directory.join(name), bytes, Ownership::mode(0o644))?;
        }
        Ok(())
    }

    /// Reads what [`BootFiles::save`] kept.
    pub fn load(directory: &Path) -> Result<Self> {
        let read = |name| {
            let path = directory.join(name);
            fs::read(&path).with_context(|| format!("reading {}", path.display()))
        };
        Ok(Self {
            boot_img: read(FILE_NAMES[0])?,
            core_img: read(FILE_NAMES[1])?,
            efi: read(FILE_NAMES[2])?,
        })
    }
}

/// Makes the boot loaders of a tree whose root file system will have this UUID. `run` puts a
/// command into the namespace of the tree.
pub fn make(run: &dyn Fn(Cmd) -> Cmd, tree: &Path, root: Uuid) -> Result<BootFiles> {
    let boot_img = tree.join("usr/lib/grub/i386-pc/boot.img");
    let early = format!(
        "search --no-floppy --fs-uuid --hint hd0,gpt3 --set=root {root}\n\
         set prefix=($root)/boot/grub\n"
    );
    let inside = |program: &str| Cmd::new("chroot").path(tree).arg(program);
    run(inside("tee").arg(EARLY).stdin(early)).run()?;
    // It syncs its output, which a pipe cannot do.
    let image = |format: &str, extra: &[&str]| -> Result<Vec<u8>> {
        let cmd = inside(program(tree))
            .args(["-O", format, "-p", "/boot/grub", "-c", EARLY, "-o", MADE])
            .args(MODULES.iter().chain(extra).copied());
        run(cmd).run()?;
        Ok(run(inside("cat").arg(MADE)).output()?.stdout)
    };
    let made = image("i386-pc", BIOS_MODULES)
        .and_then(|core_img| Ok((core_img, image("x86_64-efi", EFI_MODULES)?)));
    run(inside("rm").args(["-f", EARLY, MADE])).run()?;
    let (core_img, efi) = made.context("making the boot loaders")?;
    Ok(BootFiles {
        boot_img: fs::read(&boot_img).with_context(|| format!("reading {}", boot_img.display()))?,
        core_img,
        efi,
    })
}

/// `grub-mkimage` has another name in the Fedora family.
fn program(tree: &Path) -> &'static str {
    if tree.join("usr/bin/grub2-mkimage").exists() {
        "grub2-mkimage"
    } else {
        "grub-mkimage"
    }
}

/// The boot code of the first sector, told where `core.img` begins.
pub fn boot_code(boot_img: &[u8], core_sector: u64) -> Result<[u8; BOOT_CODE_BYTES]> {
    ensure!(
        boot_img.len() == 512 && boot_img.ends_with(&[0x55, 0xaa]),
        "boot.img is not a boot sector"
    );
    let mut code = [0; BOOT_CODE_BYTES];
    code.copy_from_slice(&boot_img[..BOOT_CODE_BYTES]);
    code[BOOT_KERNEL_SECTOR..][..8].copy_from_slice(&core_sector.to_le_bytes());
    // Two no-ops instead of a jump: do not believe a BIOS that says it booted from a floppy.
    code[BOOT_DRIVE_CHECK..][..2].copy_from_slice(&[0x90, 0x90]);
    Ok(code)
}

/// `core.img` padded to sectors, told where its second sector is and how many follow.
pub fn core(core_img: &[u8], core_sector: u64) -> Result<Vec<u8>> {
    let sector = usize::try_from(SECTOR_BYTES)?;
    let sectors = core_img.len().div_ceil(sector);
    ensure!(sectors > 1, "core.img has no second sector");
    let following = u16::try_from(sectors - 1).context("core.img is too long")?;
    let mut core = core_img.to_vec();
    core.resize(sectors * sector, 0);
    core[CORE_BLOCK_LIST..][..8].copy_from_slice(&(core_sector + 1).to_le_bytes());
    core[CORE_BLOCK_LIST + 8..][..2].copy_from_slice(&following.to_le_bytes());
    Ok(core)
}

/// True if a first sector has boot code that loads the core at this sector, and the first sector
/// of that core knows where its second is.
pub fn points_at(boot: &[u8; 512], core: &[u8; 512], core_sector: u64) -> bool {
    let number = |bytes: &[u8], at: usize| {
        let bytes = bytes[at..at + 8].iter().rev();
        bytes.fold(0, |sum, byte| sum << 8 | u64::from(*byte))
    };
    boot[510..] == [0x55, 0xaa]
        && number(boot, BOOT_KERNEL_SECTOR) == core_sector
        && number(core, CORE_BLOCK_LIST) == core_sector + 1
}

/// The kernel and the initramfs that the configuration names.
#[derive(Debug, Clone, PartialEq)]
pub struct Kernel {
    /// Path of the kernel in the root file system.
    pub kernel: PathBuf,
    /// Path of its initramfs.
    pub initramfs: PathBuf,
}

impl Kernel {
    /// What a tree boots: the links that Debian keeps current through upgrades, or else its only
    /// kernel in `/boot`.
    pub fn of(tree: &Path) -> Result<Self> {
        if tree.join("vmlinuz").is_symlink() && tree.join("initrd.img").is_symlink() {
            return Ok(Self {
                kernel: "/vmlinuz".into(),
                initramfs: "/initrd.img".into(),
            });
        }
        let boot = tree.join("boot");
        let context = || format!("looking for a kernel in {}", boot.display());
        let mut versions = Vec::new();
        for entry in fs::read_dir(&boot).with_context(context)? {
            let name = entry.with_context(context)?.file_name();
            let name = name.to_string_lossy();
            versions.extend(name.strip_prefix("vmlinuz-").map(str::to_owned));
        }
        versions.retain(|version| !version.contains("rescue"));
        ensure!(
            versions.len() == 1,
            "{} kernels in {}, not one",
            versions.len(),
            boot.display()
        );
        let version = &versions[0];
        let debian = format!("initrd.img-{version}");
        let initramfs = if boot.join(&debian).exists() {
            debian
        } else {
            format!("initramfs-{version}.img")
        };
        Ok(Self {
            kernel: format!("/boot/vmlinuz-{version}").into(),
            initramfs: Path::new("/boot").join(initramfs),
        })
    }
}

/// The text of `grub.cfg`.
pub fn configuration(root: Uuid, kernel: &Kernel) -> String {
    let Kernel { kernel, initramfs } = kernel;
    let (kernel, initramfs) = (kernel.display(), initramfs.display());
    format!(
        r#"# Written by the build of this image. Nothing on the node rewrites it.
set timeout=1
set default=0

# UEFI firmware brings its own serial console; under a BIOS it takes GRUB's.
if [ "$grub_platform" = "pc" ]; then
  if serial --unit=0 --speed=115200; then
    terminal_input console serial
    terminal_output console serial
  fi
fi

menuentry "cellboot" {{
  linux {kernel} root=UUID={root} ro console=tty1 console=ttyS0,115200n8
  initrd {initramfs}
}}
menuentry "cellboot, rescue shell" {{
  linux {kernel} root=UUID={root} ro console=tty1 console=ttyS0,115200n8 systemd.unit=rescue.target
  initrd {initramfs}
}}
"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_boot_sector_names_the_sector_of_the_core() {
        let mut image = vec![0xeb; 512];
        image[510..].copy_from_slice(&[0x55, 0xaa]);
        let code = boot_code(&image, 2048).unwrap();
        assert_eq!(code[0x5c..0x64], [0, 8, 0, 0, 0, 0, 0, 0]);
        assert_eq!(code[0x66..0x68], [0x90, 0x90]);
        let error = boot_code(&image[..100], 2048).unwrap_err();
        assert_eq!(error.to_string(), "boot.img is not a boot sector");
    }

    #[test]
    fn the_core_names_its_second_sector_and_how_many_follow() {
        let core = core(&vec![1; 512 * 3 + 1], 2048).unwrap();
        assert_eq!(core.len(), 2048);
        assert_eq!(core[0x1f4..0x1fe], [1, 8, 0, 0, 0, 0, 0, 0, 3, 0]);
        let error = super::core(&[0; 10], 2048).unwrap_err();
        assert_eq!(error.to_string(), "core.img has no second sector");
    }

    #[test]
    fn a_tree_without_a_kernel_is_refused() {
        let tree = tempfile::tempdir().unwrap();
        fs::create_dir(tree.path().join("boot")).unwrap();
        let error = Kernel::of(tree.path()).unwrap_err();
        let boot = tree.path().join("boot");
        assert_eq!(
            error.to_string(),
            format!("0 kernels in {}, not one", boot.display())
        );
        for name in ["vmlinuz-5.14", "initramfs-5.14.img"] {
            fs::File::create(boot.join(name)).unwrap();
        }
        let kernel = Kernel::of(tree.path()).unwrap();
        assert_eq!(kernel.kernel, Path::new("/boot/vmlinuz-5.14"));
        assert_eq!(kernel.initramfs, Path::new("/boot/initramfs-5.14.img"));
    }
}
