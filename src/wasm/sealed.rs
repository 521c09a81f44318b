//! The file format of compiled code: a header with a checksum, then the code.

use std::io::{self, Write};

/// The first bytes of a file, the last of them its format's version.
const MAGIC: [u8; 8] = *b"wrcache\x01";
/// The length of magic and checksum.
pub(super) const HEADER: usize = MAGIC.len() + blake3::OUT_LEN;

/// Returns the code in the bytes of a file. The error says why [`seal`] has not written them.
pub(super) fn unseal(bytes: &[u8]) -> Result<&[u8], &'static str> {
    let (header, code) = bytes.split_at_checked(HEADER).ok_or("it is too short")?;
    let (magic, checksum) = header.split_at(MAGIC.len());
    if magic != MAGIC {
        return Err("its format is not known");
    }
    if blake3::hash(code).as_bytes().as_slice() != checksum {
        return Err("its checksum is wrong");
    }
    Ok(code)
}

/// Writes code in this format.
pub(super) fn seal(file: &mut impl Write, code: &[u8]) -> io::Result<()> {
    file.write_all(&MAGIC)?;
    file.write_all(blake3::hash(code).as_bytes())?;
    file.write_all(code)
}
