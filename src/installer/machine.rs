//! The machine that Anaconda runs in: QEMU's command line.

use std::path::{Path, PathBuf};

use firstboot::cmd::Cmd;

use super::volume;
use crate::kickstart;
use crate::lab::accel::Accelerator;
use crate::lab::machine::{OVMF, QEMU, drive};

/// The port that Anaconda writes its log to when it is there.
const LOG_PORT: &str = "org.fedoraproject.anaconda.log.0";
/// The port that the kickstart's scripts report to.
const STATUS_PORT: &str = "org.cellboot.status";
/// The second stage is on a disk. Anaconda may keep the packages in memory until they are installed: half
/// of it is a file system that it considers for them.
const MEMORY_MIB: &str = "6144";
const PROCESSORS: &str = "2";

/// Files of one installation, all in one directory.
#[derive(Debug, Clone)]
pub struct Files {
    directory: PathBuf,
}

impl Files {
    /// Those in this directory, which exists.
    pub fn new(directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// The disk that is installed to (raw).
    pub fn target(&self) -> PathBuf {
        self.file("target.raw")
    }

    /// The volume with the kickstart.
    pub fn kickstart(&self) -> PathBuf {
        self.file("kickstart.img")
    }

    /// The firmware's variables, of this machine alone.
    pub fn variables(&self) -> PathBuf {
        self.file("efivars.fd")
    }

    /// Anaconda's log.
    pub fn log(&self) -> PathBuf {
        self.file("anaconda.log")
    }

    /// What the scripts reported.
    pub fn status(&self) -> PathBuf {
        self.file("status.log")
    }

    /// The serial console.
    pub fn serial(&self) -> PathBuf {
        self.file("serial.log")
    }

    /// What QEMU itself said.
    pub fn qemu(&self) -> PathBuf {
        self.file("qemu.log")
    }

    /// The name of QEMU's control socket in the directory.
    pub const CONTROL: &'static str = "qmp";

    /// The directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }
}

/// What boots in the machine.
#[derive(Debug, Clone)]
pub struct Boot {
    /// The installer's kernel.
    pub kernel: PathBuf,
    /// Its initial RAM disk.
    pub initrd: PathBuf,
    /// The volume with the second stage.
    pub stage2: PathBuf,
    /// How the processor is run.
    pub accelerator: Accelerator,
}

/// The kernel's command line: nothing may be asked, nothing waited for that does not come, and a
/// panic ends the machine. The second stage is on a volume of this label.
pub fn append(stage2: &str) -> String {
    format!(
        "inst.ks=hd:LABEL={}:/{} inst.stage2=hd:LABEL={stage2} inst.text inst.cmdline \
         inst.ksstrict inst.nosave=all inst.geoloc=0 ip=dhcp rd.shell=0 rd.emergency=poweroff \
         panic=-1 console=ttyS0,115200n8",
        kickstart::VOLUME,
        volume::KICKSTART,
    )
}

/// The command line. Sockets are relative to the directory: their paths may be only 107 bytes long.
pub fn command(files: &Files, boot: &Boot) -> Cmd {
    let disk = |id: &str, options: &str, path: &Path| {
        let drive = drive(&format!("if=none,id={id},format=raw,{options}"), path);
        let device = format!("virtio-blk-pci,drive={id},serial={id}");
        ["-drive".to_owned(), drive, "-device".to_owned(), device]
    };
    let port = |number: u32, id: &str, name: &str, path: &Path| {
        let path = path.to_string_lossy().replace(',', ",,");
        [
            "-chardev".to_owned(),
            format!("file,id={id},path={path}"),
            "-device".to_owned(),
            format!("virtserialport,bus=serial.0,nr={number},chardev={id},name={name}"),
        ]
    };
    let serial = files.serial().to_string_lossy().replace(',', ",,");
    Cmd::new(QEMU)
        .directory(files.directory())
        .args(["-name", "cellboot-installer", "-machine", "q35"])
        .args(["-nodefaults", "-no-user-config", "-display", "none"])
        .args(boot.accelerator.arguments().iter().copied())
        .args(["-smp", PROCESSORS, "-m", MEMORY_MIB, "-rtc", "base=utc"])
        .arg("-drive")
        .arg(format!("if=pflash,format=raw,readonly=on,file={}", OVMF[0]))
        .arg("-drive")
        .arg(drive("if=pflash,format=raw", &files.variables()))
        .arg("-kernel")
        .path(&boot.kernel)
        .arg("-initrd")
        .path(&boot.initrd)
        .args(["-append".to_owned(), append(volume::STAGE2)])
        // A host that fails takes the build with it, and the disk is made anew.
        .args(disk(
            "target",
            "cache=unsafe,discard=unmap,detect-zeroes=unmap",
            &files.target(),
        ))
        .args(disk("kickstart", "readonly=on", &files.kickstart()))
        .args(disk("stage2", "readonly=on", &boot.stage2))
        .args([
            "-netdev",
            "user,id=network",
            "-device",
            "virtio-net-pci,netdev=network",
        ])
        .args([
            "-device",
            "virtio-rng-pci",
            "-device",
            "virtio-serial-pci,id=serial",
        ])
        .args(port(1, "log", LOG_PORT, &files.log()))
        .args(port(2, "status", STATUS_PORT, &files.status()))
        .args([
            "-chardev".to_owned(),
            format!("file,id=console,path={serial}"),
        ])
        .args(["-serial", "chardev:console", "-monitor", "none"])
        .arg("-qmp")
        .arg(format!("unix:{},server=on,wait=off", Files::CONTROL))
        .arg("-no-reboot")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_installer_is_told_all_and_touches_one_disk() {
        let boot = Boot {
            kernel: "/c/vmlinuz".into(),
            initrd: "/c/initrd.img".into(),
            stage2: "/c/stage2.img".into(),
            accelerator: Accelerator::Kvm,
        };
        let line = command(&Files::new(Path::new("/srv/a,b")), &boot).to_string();
        for part in [
            "inst.ks=hd:LABEL=CELLBOOT:/ks.cfg inst.stage2=hd:LABEL=STAGE2 ",
            " inst.cmdline inst.ksstrict inst.nosave=all ",
            " rd.shell=0 rd.emergency=poweroff panic=-1 console=ttyS0,115200n8",
            "file=/srv/a,,b/target.raw",
            "virtio-blk-pci,drive=target,serial=target",
            "if=none,id=kickstart,format=raw,readonly=on,file=/srv/a,,b/kickstart.img",
            "if=none,id=stage2,format=raw,readonly=on,file=/c/stage2.img",
            "name=org.fedoraproject.anaconda.log.0",
            "name=org.cellboot.status",
            " -no-reboot",
        ] {
            assert!(line.contains(part), "{part}: {line}");
        }
    }
}
