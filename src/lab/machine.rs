//! One virtual machine: its QEMU command line, start, power cut and end.
//!
//! QEMU makes itself a daemon and so outlives the program that started it; what is left is a
//! directory with its log, sockets and process id. Needs no root.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use firstboot::cmd::Cmd;
use firstboot::files;
use firstboot::wait::{self, Probe};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

use super::accel::Accelerator;
use super::network::Port;
use super::qmp;

/// The emulator.
pub(crate) const QEMU: &str = "qemu-system-x86_64";
/// The firmware's code, read by every machine, and the variables each has its own copy of.
pub const OVMF: [&str; 2] = [
    "/usr/share/OVMF/OVMF_CODE_4M.fd",
    "/usr/share/OVMF/OVMF_VARS_4M.fd",
];

/// A killed process is gone once the kernel has taken its memory back.
const KILL_DEADLINE: Timespec = Timespec {
    tv_sec: 60,
    tv_nsec: 0,
};

/// What a machine starts with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Firmware {
    /// SeaBIOS.
    Bios,
    /// OVMF.
    Uefi,
}

/// How the disk is attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Bus {
    /// virtio-blk
    VirtioBlk,
    /// virtio-scsi
    VirtioScsi,
    /// AHCI
    Sata,
    /// NVMe
    Nvme,
}

/// A machine as it is to be started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// Its name, and the stem of every file it leaves in `directory`.
    pub name: String,
    /// Where its log, sockets and process id go.
    pub directory: PathBuf,
    /// How its processor is run.
    pub accelerator: Accelerator,
    /// What it starts with.
    pub firmware: Firmware,
    /// Number of processors.
    pub processors: u32,
    /// Memory.
    pub memory_mib: u32,
    /// Its disk (qcow2), written to.
    pub disk: PathBuf,
    /// How the disk is attached.
    pub bus: Bus,
    /// Its seed, read only, if it has one.
    pub seed: Option<PathBuf>,
    /// Its network interfaces.
    pub ports: Vec<Port>,
}

impl Machine {
    /// The serial console's log; a machine that is started again appends to it.
    pub fn log(&self) -> PathBuf {
        self.directory.join(format!("{}.log", self.name))
    }

    /// The machine as a running process, whoever started it.
    pub fn process(&self) -> Process {
        Process::new(&self.directory, &self.name)
    }

    /// Turns it on. Gives where in the log this boot begins.
    pub fn power_on(&self) -> Result<u64> {
        let process = self.process();
        if process.pid()?.is_some() {
            bail!("the machine {} runs already", self.name);
        }
        if self.firmware == Firmware::Uefi && !self.variables().exists() {
            let blank = std::fs::read(OVMF[1]).with_context(|| format!("reading {}", OVMF[1]))?;
            files::replace(&self.variables(), &blank, files::Ownership::mode(0o600))?;
        }
        let begins = std::fs::metadata(self.log()).map_or(0, |metadata| metadata.len());
        self.command()
            .deadline(Duration::from_secs(60))
            .run()
            .with_context(|| format!("turning on {}", self.name))?;
        Ok(begins)
    }

    fn variables(&self) -> PathBuf {
        self.directory.join(format!("{}.efivars", self.name))
    }

    /// The command line. Sockets are relative to the directory: their paths may be only 107
    /// bytes long.
    pub fn command(&self) -> Cmd {
        let name = &self.name;
        let memory = self.memory_mib.to_string();
        let processors = self.processors.to_string();
        let mut qemu = Cmd::new(QEMU)
            .directory(&self.directory)
            .args(["-name", name, "-machine", "q35", "-nodefaults"])
            .args(["-no-user-config", "-display", "none", "-daemonize"])
            .args(self.accelerator.arguments().iter().copied())
            .args(["-smp", &processors, "-m", &memory, "-rtc", "base=utc"])
            .args(["-device", "virtio-rng-pci"])
            .arg("-pidfile")
            .path(self.process().pidfile())
            .arg("-qmp")
            .arg(format!("unix:{name}.qmp,server=on,wait=off"))
            .arg("-chardev")
            .arg(format!(
                "socket,id=serial,path={name}.serial,server=on,wait=off,\
                 logfile={name}.log,logappend=on"
            ))
            .args(["-serial", "chardev:serial"]);
        if self.firmware == Firmware::Uefi {
            qemu = qemu
                .arg("-drive")
                .arg(format!("if=pflash,format=raw,readonly=on,file={}", OVMF[0]))
                .arg("-drive")
                .arg(drive("if=pflash,format=raw", &self.variables()));
        }
        // A power cut ends QEMU, not this host: what the guest flushed is in the page cache
        // then, and the overlay's own tables with it, so nothing waits for the host's disk.
        qemu = qemu
            .arg("-drive")
            .arg(drive(
                "if=none,id=disk,format=qcow2,cache=unsafe,discard=unmap",
                &self.disk,
            ))
            .args(self.bus.arguments());
        if let Some(seed) = &self.seed {
            qemu = qemu
                .arg("-drive")
                .arg(drive("if=none,id=seed,format=raw,readonly=on", seed))
                .args(["-device", "virtio-blk-pci,drive=seed,serial=seed"]);
        }
        for port in &self.ports {
            qemu = qemu.args(port.arguments());
        }
        qemu
    }
}

/// A `-drive` argument; commas in a path are doubled.
pub(crate) fn drive(options: &str, path: &Path) -> String {
    let path = path.to_string_lossy().replace(',', ",,");
    format!("{options},file={path}")
}

impl Bus {
    fn arguments(self) -> Vec<&'static str> {
        match self {
            Self::VirtioBlk => vec!["-device", "virtio-blk-pci,drive=disk,bootindex=0"],
            Self::VirtioScsi => vec![
                "-device",
                "virtio-scsi-pci,id=scsi",
                "-device",
                "scsi-hd,bus=scsi.0,drive=disk,bootindex=0",
            ],
            Self::Sata => vec!["-device", "ide-hd,bus=ide.0,drive=disk,bootindex=0"],
            Self::Nvme => vec!["-device", "nvme,serial=disk,drive=disk,bootindex=0"],
        }
    }
}

/// A machine that runs, or once ran, in a directory.
#[derive(Debug, Clone)]
pub struct Process {
    directory: PathBuf,
    name: String,
}

impl Process {
    /// The machine of this name in this directory.
    pub fn new(directory: &Path, name: &str) -> Self {
        Self {
            directory: directory.to_owned(),
            name: name.to_owned(),
        }
    }

    pub(super) fn pidfile(&self) -> PathBuf {
        self.directory.join(format!("{}.pid", self.name))
    }

    /// The process, if it runs. A process id that was given to another program since is not it:
    /// ours has the path of the file on its command line.
    pub fn pid(&self) -> Result<Option<Pid>> {
        let path = self.pidfile();
        let text = files::read_if_exists(&path)?.unwrap_or_default();
        let Some(pid) = text.trim().parse().ok().and_then(Pid::from_raw) else {
            return Ok(None);
        };
        let line = std::fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero()));
        let mut words = line.iter().flat_map(|line| line.split(|&byte| byte == 0));
        let ours = words.any(|word| word == path.as_os_str().as_encoded_bytes());
        Ok(ours.then_some(pid))
    }

    /// Processor time it has used, guest and QEMU together; `None` when it does not run.
    pub fn processor_time(&self) -> Result<Option<Duration>> {
        let Some(pid) = self.pid()? else {
            return Ok(None);
        };
        let path = PathBuf::from(format!("/proc/{}/stat", pid.as_raw_nonzero()));
        let text = files::read_if_exists(&path)?.unwrap_or_default();
        let after_name = text.rsplit_once(") ").map_or("", |(_, rest)| rest);
        let ticks: u64 = after_name
            .split(' ')
            .skip(11)
            .take(2)
            .filter_map(|field| field.parse::<u64>().ok())
            .sum();
        Ok(Some(Duration::from_millis(
            ticks * 1000 / rustix::param::clock_ticks_per_second(),
        )))
    }

    /// Cuts its power: nothing in it, nor in QEMU, gets a chance to finish anything.
    pub fn cut_power(&self) -> Result<()> {
        let Some(pid) = self.pid()? else {
            return Ok(());
        };
        let context = || format!("cutting the power of {}", self.name);
        let process = pidfd_open(pid, PidfdFlags::empty()).with_context(context)?;
        pidfd_send_signal(&process, Signal::KILL).with_context(context)?;
        // Not by `wait::until`: this also has to work after Ctrl-C.
        let mut ended = [PollFd::new(&process, PollFlags::IN)];
        if poll(&mut ended, Some(&KILL_DEADLINE)).with_context(context)? == 0 {
            bail!(
                "{} outlived SIGKILL by {} s",
                self.name,
                KILL_DEADLINE.tv_sec
            );
        }
        Ok(())
    }

    /// Presses its power button and waits until it is off.
    pub fn shut_down(&self, deadline: Duration) -> Result<()> {
        if self.pid()?.is_none() {
            return Ok(());
        }
        qmp::command(&self.socket("qmp")?, "system_powerdown")?;
        wait::until(&format!("{} to be off", self.name), deadline, || {
            Ok(match self.pid()? {
                None => Probe::Ready(()),
                Some(_) => Probe::NotYet("it still runs".into()),
            })
        })
    }

    /// The path of one of its sockets, short enough for any directory while `self` lives.
    pub fn socket(&self, kind: &str) -> Result<Socket> {
        Socket::of(&self.directory, format!("{}.{kind}", self.name))
    }
}

/// A socket in a directory that is held open.
pub struct Socket {
    directory: std::fs::File,
    name: String,
}

impl Socket {
    /// The socket of this name below a directory.
    pub(crate) fn of(directory: &Path, name: String) -> Result<Self> {
        let directory = std::fs::File::open(directory)
            .with_context(|| format!("opening {}", directory.display()))?;
        Ok(Self { directory, name })
    }

    /// Connects to it.
    pub fn connect(&self) -> Result<std::os::unix::net::UnixStream> {
        use std::os::fd::AsRawFd;
        let path = format!("/proc/self/fd/{}/{}", self.directory.as_raw_fd(), self.name);
        std::os::unix::net::UnixStream::connect(path)
            .with_context(|| format!("connecting to {}", self.name))
    }
}

/// Makes an empty disk that reads what `image` holds, as large as it or of this size.
pub fn overlay(image: &Path, disk: &Path, size_gib: Option<u32>) -> Result<()> {
    let absolute = std::fs::canonicalize(image)
        .with_context(|| format!("looking for the image {}", image.display()))?;
    Cmd::new("qemu-img")
        .args(["create", "-q", "-f", "qcow2", "-F", "qcow2", "-b"])
        .path(absolute)
        .path(disk)
        .args(size_gib.map(|gib| format!("{gib}G")))
        .run()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(firmware: Firmware, bus: Bus) -> Machine {
        Machine {
            name: "controller".into(),
            directory: "/lab".into(),
            accelerator: Accelerator::Tcg,
            firmware,
            processors: 2,
            memory_mib: 6144,
            disk: "/lab/a,b.qcow2".into(),
            bus,
            seed: Some("/lab/controller.img".into()),
            ports: Vec::new(),
        }
    }

    #[test]
    fn the_command_line_follows_the_machine() {
        let uefi = machine(Firmware::Uefi, Bus::Nvme).command().to_string();
        for part in [
            "-accel tcg,thread=multi -cpu max,-erms,",
            "model=28,stepping=2 -smbios",
            "kernel.randomize_va_space=0,value=",
            "min_granularity_ns - - - - 40000000' -smp 2 -m 6144",
            "-pidfile /lab/controller.pid",
            "if=pflash,format=raw,readonly=on,file=/usr/share/OVMF/OVMF_CODE_4M.fd",
            "if=pflash,format=raw,file=/lab/controller.efivars",
            "discard=unmap,file=/lab/a,,b.qcow2",
            "-device nvme,serial=disk,drive=disk,bootindex=0",
            "if=none,id=seed,format=raw,readonly=on,file=/lab/controller.img",
        ] {
            assert!(uefi.contains(part), "{part} is not in {uefi}");
        }
        let bios = machine(Firmware::Bios, Bus::Sata).command().to_string();
        assert!(!bios.contains("pflash"), "{bios}");
    }

    #[test]
    fn a_process_id_that_is_somebody_elses_is_not_ours() {
        let directory = tempfile::tempdir().unwrap();
        let process = Process::new(directory.path(), "controller");
        assert_eq!(process.pid().unwrap(), None);
        let text = std::process::id().to_string();
        files::replace(
            &process.pidfile(),
            text.as_bytes(),
            files::Ownership::mode(0o600),
        )
        .unwrap();
        assert_eq!(process.pid().unwrap(), None);
        assert_eq!(process.processor_time().unwrap(), None);
        process.cut_power().unwrap();
    }
}
