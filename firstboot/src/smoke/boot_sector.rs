//! The smallest guest there is: a boot sector that says one sentence on the serial port and halts.
//!
//! It needs no kernel, no download and no operating system, so that a site can prove its computes
//! before it has an image of its own.

/// What the guest says; short enough for a boot sector.
pub(super) const SENTENCE: &str = "cellboot: this instance runs";
/// As large as a disk image that nobody's tool finds strange.
const IMAGE_BYTES: usize = 1 << 20;
const SECTOR_BYTES: usize = 512;

/// 16-bit code for address 0x7c00: each byte of the text after it goes to the first serial port
/// (COM1) once the port's transmitter is empty; after the zero byte the processor halts.
const CODE: [u8; 35] = [
    0xfa, // cli
    0x31, 0xc0, // xor ax, ax
    0x8e, 0xd8, // mov ds, ax
    0xfc, // cld
    0xbe, 0x23, 0x7c, // mov si, the text
    0xac, // next: lodsb
    0x84, 0xc0, // test al, al
    0x74, 0x12, // jz halt
    0x88, 0xc4, // mov ah, al
    0xba, 0xfd, 0x03, // mov dx, line status register
    0xec, // poll: in al, dx
    0xa8, 0x20, // test al, transmitter empty
    0x74, 0xfb, // jz poll
    0xba, 0xf8, 0x03, // mov dx, data register
    0x88, 0xe0, // mov al, ah
    0xee, // out dx, al
    0xeb, 0xe9, // jmp next
    0xf4, // halt: hlt
    0xeb, 0xfd, // jmp halt
];

/// A raw disk image with the guest in its first sector.
pub fn image() -> Vec<u8> {
    let mut image = vec![0; IMAGE_BYTES];
    let text = format!("\r\n{SENTENCE}\r\n\0");
    image[..CODE.len()].copy_from_slice(&CODE);
    image[CODE.len()..CODE.len() + text.len()].copy_from_slice(text.as_bytes());
    image[SECTOR_BYTES - 2..SECTOR_BYTES].copy_from_slice(&[0x55, 0xaa]);
    image
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_finds_its_text_and_the_firmware_its_mark() {
        let image = image();
        let text = usize::from(u16::from_le_bytes([CODE[7], CODE[8]])) - 0x7c00;
        assert_eq!(
            &image[text + 2..text + 2 + SENTENCE.len()],
            SENTENCE.as_bytes()
        );
        assert_eq!(image[510..512], [0x55, 0xaa]);
        // The last two bytes of a sector are the mark's: the text must end before them.
        assert!(image[..510].ends_with(&[0; 64]));
    }
}
