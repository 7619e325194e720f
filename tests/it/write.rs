//! Images onto disks: what is written, what is refused, and that a broken-off write leaves no disk.

use std::fs::{self, File};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cellboot::disk::export::{self, Format};
use cellboot::disk::source::{RawFile, Source};
use cellboot::inspect;
use cellboot::keys::Keys;
use cellboot::manifest::{Hashed, SUMS};
use cellboot::report::Report;
use cellboot::seed;
use cellboot::site::Site;
use cellboot::write::target::Target;
use firstboot::cmd::{Cmd, Output};
use firstboot::files::{Ownership, replace};
use firstboot::platform::Platform;

use super::disk::Workshop;
use super::{SITE, said, site};

const MIB: u64 = 1 << 20;

/// An image with its checksum, a seed, and a disk that had something else on it.
struct Desk {
    workshop: Workshop,
    image: PathBuf,
    seed: PathBuf,
    device: PathBuf,
}

impl Desk {
    fn new(device_bytes: u64) -> Self {
        let workshop = Workshop::new();
        let image = workshop.path("image.qcow2");
        let root = workshop.root(&[], &[]);
        export::write(&workshop.disk(&root), Format::Qcow2, &image).unwrap();
        let sum = Hashed::of(&image).unwrap().sha256;
        let sums = format!("{sum}  image.qcow2\n");
        put(&workshop.path(SUMS), sums.as_bytes());

        let path = site(&workshop.path(""), SITE);
        let path = Path::new(&path);
        let (loaded, keys) = (Site::load(path).unwrap(), Keys::beside(path).unwrap());
        let platform = Platform::load("debian-12").unwrap();
        let volume = seed::of(&loaded, &platform, &keys, &loaded.controller().name).unwrap();
        let seed = workshop.path("seed.img");
        put(&seed, &volume.image().unwrap());

        let device = workshop.path("device");
        let file = File::create(&device).unwrap();
        file.set_len(device_bytes).unwrap();
        // Whatever was there before, where the image has holes too.
        let old = vec![0xa5; 1 << 20];
        for mebibyte in 0..(device_bytes / MIB).min(600) {
            file.write_all_at(&old, mebibyte * MIB).unwrap();
        }
        Self {
            workshop,
            image,
            seed,
            device,
        }
    }

    fn write(&self, more: &[&str]) -> Output {
        Cmd::new(env!("CARGO_BIN_EXE_cellboot"))
            .arg("write")
            .path(&self.image)
            .arg("--seed")
            .path(&self.seed)
            .path(&self.device)
            .args(more.iter().copied())
            .any_status()
            .unwrap()
    }

    fn start(&self) -> Vec<u8> {
        let mut start = vec![0; MIB as usize];
        File::open(&self.device)
            .unwrap()
            .read_exact_at(&mut start, 0)
            .unwrap();
        start
    }
}

fn put(path: &Path, content: &[u8]) {
    replace(path, content, Ownership::mode(0o600)).unwrap();
}

#[test]
fn a_disk_is_the_image_with_the_seed_at_its_end() {
    let size = 900 * MIB + 512;
    let desk = Desk::new(size);
    let (code, text) = said(&desk.write(&["--yes"]));
    assert_eq!(code, Some(0), "{text}");

    let (image, disk) = (
        inspect::open(&desk.image).unwrap(),
        inspect::open(&desk.device).unwrap(),
    );
    let names: Vec<&str> = disk
        .partitions()
        .iter()
        .map(|it| it.name.as_str())
        .collect();
    assert_eq!(names, ["bios", "esp", "root", "cidata"]);
    assert_eq!(disk.partitions()[..3], *image.partitions());
    // All that follows the tables is the same, holes included, whatever was there before.
    let end = image.partitions()[2].start_bytes + image.partitions()[2].size_bytes;
    let (expected, found) = (image.source(), disk.source());
    let (mut one, mut other) = (vec![0; MIB as usize], vec![0; MIB as usize]);
    let mut at = MIB;
    while at < end {
        expected.read_at(at, &mut one).unwrap();
        found.read_at(at, &mut other).unwrap();
        assert!(one == other, "at {} MiB", at / MIB);
        at += MIB;
    }
    expected.read_at(0, &mut one).unwrap();
    assert_eq!(desk.start()[..440], one[..440], "the boot code");

    let seed = fs::read(&desk.seed).unwrap();
    let part = &disk.partitions()[3];
    let mut found = vec![0; seed.len()];
    disk.source().read_at(part.start_bytes, &mut found).unwrap();
    assert!(found == seed);
    // The second table is at the end, where firmware looks when the first is lost.
    let raw = RawFile::open(&desk.device).unwrap();
    let mut last = [0; 512];
    raw.read_at(size - 512, &mut last).unwrap();
    assert!(last.starts_with(b"EFI PART"));
    let file = File::options().write(true).open(&desk.device).unwrap();
    file.write_all_at(&[0; 512], 512).unwrap();
    let repaired = inspect::open(&desk.device).unwrap();
    assert_eq!(repaired.partitions(), disk.partitions());
}

#[test]
fn what_is_not_as_it_should_be_is_refused_before_anything_is_written() {
    let desk = Desk::new(900 * MIB);
    let before = desk.start();
    let expect = |more: &[&str], code: i32, words: &str| {
        let (found, text) = said(&desk.write(more));
        assert_eq!(found, Some(code), "{text}");
        assert!(text.contains(words), "{words}: {text}");
        assert!(desk.start() == before, "{words}: something was written");
    };
    expect(
        &[],
        2,
        "nobody is there to be asked\nhint: `--yes` writes without asking\n",
    );

    let seed = fs::read(&desk.seed).unwrap();
    put(&desk.seed, b"no seed");
    expect(&["--yes"], 2, "seed.img: it is no FAT volume: ");
    let mut other = seed.clone();
    let at = other.windows(6).position(|it| it == b"CIDATA").unwrap();
    // The label is in the boot sector and in the root directory.
    other[at..at + 6].copy_from_slice(b"OTHERS");
    put(&desk.seed, &other);
    expect(
        &["--yes"],
        2,
        "not CIDATA\nhint: `cellboot seed` writes the seeds of a site\n",
    );
    put(&desk.seed, &seed);

    let sums = desk.workshop.path(SUMS);
    let text = fs::read_to_string(&sums).unwrap();
    put(
        &sums,
        text.replace("image.qcow2", "another.qcow2").as_bytes(),
    );
    expect(
        &["--yes"],
        5,
        "SHA256SUMS has no checksum of image.qcow2\nhint: ",
    );
    put(&sums, text.as_bytes());
    let file = File::options().write(true).open(&desk.image).unwrap();
    let length = file.metadata().unwrap().len();
    file.write_all_at(&[0xff], length - 1).unwrap();
    expect(
        &["--yes"],
        5,
        "image.qcow2 is not the file that was built\nhint: ",
    );
    fs::remove_file(&sums).unwrap();
    expect(
        &["--yes"],
        2,
        "hint: an image is written from the directory that it was built to",
    );
}

#[test]
fn a_disk_that_is_too_small_is_told_in_numbers() {
    let desk = Desk::new(200 * MIB);
    let (code, text) = said(&desk.write(&["--yes"]));
    assert_eq!(code, Some(2), "{text}");
    assert!(
        text.contains("device is large enough: the disk has 200 MiB, image and seed need "),
        "{text}"
    );
    assert!(text.ends_with("hint: take a larger disk\n"), "{text}");
}

/// An image that can be read up to its midst only.
struct Torn(Arc<dyn Source>);

impl Source for Torn {
    fn size(&self) -> u64 {
        self.0.size()
    }

    fn data(&self) -> anyhow::Result<Vec<Range<u64>>> {
        self.0.data()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> anyhow::Result<()> {
        anyhow::ensure!(
            offset < 80 * MIB || offset > self.size() - MIB,
            "it is torn"
        );
        self.0.read_at(offset, buffer)
    }
}

/// Whatever ends it in its midst: no machine boots half of an image.
#[test]
fn a_write_that_broke_off_leaves_no_partition_table() {
    let desk = Desk::new(900 * MIB);
    assert!(desk.start().iter().any(|byte| *byte != 0));
    let whole = Arc::clone(inspect::open(&desk.image).unwrap().source());
    let torn: Arc<dyn Source> = Arc::new(Torn(whole));
    let seed = cellboot::write::seed(&desk.seed).unwrap();
    let target = Target::open(&desk.device).unwrap();
    let error = cellboot::write::write(&torn, &seed, &target, &Report::new(2)).unwrap_err();
    let text = format!("{error:#}");
    assert_eq!(
        text,
        format!("writing to {}: it is torn", desk.device.display())
    );
    assert!(desk.start().iter().all(|byte| *byte == 0));
    inspect::open(&desk.device).err().unwrap();
    let (code, text) = said(&desk.write(&["--yes"]));
    assert_eq!(code, Some(0), "{text}");
    inspect::open(&desk.device).unwrap();
}
