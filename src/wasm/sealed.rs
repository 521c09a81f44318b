//! How compiled code is written: with a header by which it is known to be whole.

use std::io::{self, Write};

/// The first bytes of a file, the last of them its format's version.
const MAGIC: [u8; 8] = *b"wrcache\x01";
/// Magic and checksum.
pub(super) const HEADER: usize = MAGIC.len() + blake3::OUT_LEN;
/// The code in the bytes of a file.
///
/// # Errors
///
/// Why they are not what [`seal`] wrote.
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

/// Writes code as it is kept.
pub(super) fn seal(file: &mut impl Write, code: &[u8]) -> io::Result<()> {
    file.write_all(&MAGIC)?;
    file.write_all(blake3::hash(code).as_bytes())?;
    file.write_all(code)
}
