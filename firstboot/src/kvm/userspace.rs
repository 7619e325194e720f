//! What the probe boots: a user space of 193 bytes, packed as the kernel wants it.
//!
//! It is ours, so that the answer does not depend on a distribution's initramfs and comes at once.
//! Nothing here is run on this host.

/// What the probe's user space says on the serial console before it powers the machine off.
pub(super) const MARKER: &str = "cellboot: userspace runs";

/// Machine code, position independent; the message follows it.
const CODE: &[u8] = &[
    0xb8, 0x01, 0x00, 0x00, 0x00, // mov  eax, 1            write
    0xbf, 0x01, 0x00, 0x00, 0x00, // mov  edi, 1            standard output
    0x48, 0x8d, 0x35, 0x1f, 0x00, 0x00, 0x00, // lea rsi, [rip+31]    the message
    0xba, 0x19, 0x00, 0x00, 0x00, // mov  edx, 25           its length
    0x0f, 0x05, // syscall
    0xb8, 0xa9, 0x00, 0x00, 0x00, // mov  eax, 169          reboot
    0xbf, 0xad, 0xde, 0xe1, 0xfe, // mov  edi, 0xfee1dead
    0xbe, 0x69, 0x19, 0x12, 0x28, // mov  esi, 672274793
    0xba, 0xdc, 0xfe, 0x21, 0x43, // mov  edx, 0x4321fedc   power off
    0x0f, 0x05, // syscall
    0xeb, 0xfe, // jmp  .
];
const LOAD_ADDRESS: u64 = 0x40_0000;
const HEADERS: u64 = 64 + 56;

/// An initramfs whose `/init` says [`MARKER`] and powers off.
pub(super) fn initramfs() -> Vec<u8> {
    let mut archive = Vec::new();
    append(&mut archive, "init", 0o100_755, &init());
    append(&mut archive, "TRAILER!!!", 0, &[]);
    archive
}

/// A static ELF program with one segment.
fn init() -> Vec<u8> {
    let message = format!("{MARKER}\n");
    let size = HEADERS + (CODE.len() + message.len()) as u64;
    let mut elf = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let half = |elf: &mut Vec<u8>, value: u16| elf.extend(value.to_le_bytes());
    half(&mut elf, 2); // an executable
    half(&mut elf, 62); // for x86-64
    elf.extend(1_u32.to_le_bytes());
    for value in [LOAD_ADDRESS + HEADERS, 64, 0] {
        elf.extend(value.to_le_bytes()); // entry, program headers, no sections
    }
    elf.extend(0_u32.to_le_bytes());
    for value in [64, 56, 1, 0, 0, 0] {
        half(&mut elf, value);
    }
    elf.extend(1_u32.to_le_bytes()); // load,
    elf.extend(5_u32.to_le_bytes()); // to be read and executed
    for value in [0, LOAD_ADDRESS, LOAD_ADDRESS, size, size, 0x1000] {
        elf.extend(value.to_le_bytes());
    }
    elf.extend(CODE);
    elf.extend(message.as_bytes());
    elf
}

/// Appends one member in the "newc" cpio format.
fn append(archive: &mut Vec<u8>, name: &str, mode: u32, content: &[u8]) {
    archive.extend(b"070701");
    let name_size = name.len() + 1;
    let fields = [
        1,
        mode as usize,
        0,
        0,
        1,
        0,
        content.len(),
        0,
        0,
        0,
        0,
        name_size,
        0,
    ];
    for field in fields {
        archive.extend(format!("{field:08x}").as_bytes());
    }
    archive.extend(name.as_bytes());
    archive.push(0);
    pad(archive);
    archive.extend(content);
    pad(archive);
}

fn pad(archive: &mut Vec<u8>) {
    archive.resize(archive.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The program is run on this host's kernel only up to its message: under `init`'s reboot
    /// call an ordinary user gets EPERM, so the test looks at the bytes instead.
    #[test]
    fn the_message_is_where_the_code_looks_for_it() {
        let elf = init();
        let after_lea = 17;
        let offset =
            usize::try_from(i32::from_le_bytes([CODE[13], CODE[14], CODE[15], CODE[16]])).unwrap();
        assert_eq!(after_lea + offset, CODE.len());
        let message = &elf[usize::try_from(HEADERS).unwrap() + CODE.len()..];
        assert_eq!(message, format!("{MARKER}\n").as_bytes());
        assert_eq!(usize::from(CODE[18]), message.len());
    }

    #[test]
    fn archive_members_are_aligned() {
        let archive = initramfs();
        assert_eq!(archive.len() % 4, 0);
        assert_eq!(&archive[..6], b"070701");
        let trailer = archive.windows(10).position(|w| w == b"TRAILER!!!");
        assert_eq!((trailer.unwrap() - 110) % 4, 0);
    }
}
