//! Block maps, as bmaptool reads them (version 2.0): which blocks of a raw image have to be written.
//!
//! All blocks up to the end of the content are among them, zeros too: bmaptool leaves what is not
//! mapped as it was on the disk, and a hole in a file system may be zeros in the midst of a file. So
//! the map says what of the disk's size is nothing.

use std::sync::Arc;

use anyhow::{Context, Result};
use firstboot::hash::hex;
use sha2::{Digest, Sha256};

use crate::disk::source::Source;

const BLOCK_BYTES: u64 = 4096;
const BUFFER_BYTES: usize = 1 << 20;
/// In the place of the file's own checksum while that is made.
const UNKNOWN: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// The map of an image whose file has this name.
///
/// # Errors
/// When the image cannot be read.
pub fn of(source: &Arc<dyn Source>, name: &str) -> Result<String> {
    let ranges = source.data()?;
    let end = ranges.iter().map(|range| range.end).max().unwrap_or(0);
    let end = end.next_multiple_of(BLOCK_BYTES).min(source.size());
    let mut hash = Sha256::new();
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut position = 0;
    while position < end {
        let count = usize::try_from(end - position)?.min(BUFFER_BYTES);
        let piece = &mut buffer[..count];
        source
            .read_at(position, piece)
            .context("reading the image")?;
        hash.update(piece);
        position += count as u64;
    }
    let (size, blocks) = (source.size(), source.size().div_ceil(BLOCK_BYTES));
    let mapped = end.div_ceil(BLOCK_BYTES);
    let last = mapped.saturating_sub(1);
    let sum = hex(&hash.finalize());
    let text = format!(
        r#"<?xml version="1.0" ?>
<!-- For {name}: `bmaptool copy {name} /dev/DISK`. -->
<bmap version="2.0">
    <ImageSize> {size} </ImageSize>
    <BlockSize> {BLOCK_BYTES} </BlockSize>
    <BlocksCount> {blocks} </BlocksCount>
    <MappedBlocksCount> {mapped} </MappedBlocksCount>
    <ChecksumType> sha256 </ChecksumType>
    <BmapFileChecksum> {UNKNOWN} </BmapFileChecksum>
    <BlockMap>
        <Range chksum="{sum}"> 0-{last} </Range>
    </BlockMap>
</bmap>
"#
    );
    // The checksum of the map is that of its text with zeros in its place.
    let own = hex(&Sha256::digest(&text));
    Ok(text.replacen(UNKNOWN, &own, 1))
}
