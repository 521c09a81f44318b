//! Files at paths from a command line, a configuration or an environment.
//!
//! Something else may be at such a path. A named pipe keeps whoever opens it waiting until somebody writes to it, and
//! a device may do anything when it is opened. So the type is read first.

use std::fs::{self, File, FileType, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;

/// Opens a file to read it. What is neither a file nor a directory is not opened.
///
/// # Errors
///
/// That of the system, or the name of the thing that is there instead.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    refuse(special(path))?;
    // A pipe may have taken its place since.
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    refuse(special_type(file.metadata()?.file_type()))?;
    Ok(file)
}

/// Reads a file as a whole, as [`open`] opens it.
///
/// # Errors
///
/// As [`open`].
pub(crate) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Names the thing at a path if it is neither a file nor a directory. Nothing is opened.
pub(crate) fn special(path: &Path) -> Option<&'static str> {
    special_type(fs::metadata(path).ok()?.file_type())
}

fn special_type(found: FileType) -> Option<&'static str> {
    match found {
        _ if found.is_fifo() => Some("a named pipe"),
        _ if found.is_socket() => Some("a socket"),
        _ if found.is_char_device() || found.is_block_device() => Some("a device"),
        _ => None,
    }
}

fn refuse(special: Option<&str>) -> io::Result<()> {
    special.map_or(Ok(()), |what| Err(io::Error::other(format!("it is {what}, and no ordinary file"))))
}

#[cfg(test)]
mod tests {
    use rustix::fs::{CWD, FileType as NodeType, Mode, mknodat};

    use super::*;

    #[test]
    fn only_files_are_read_and_nothing_waits_for_a_pipe() {
        let directory = tempfile::tempdir().unwrap();
        let pipe = directory.path().join("pipe");
        mknodat(CWD, &pipe, NodeType::Fifo, Mode::RWXU, 0).unwrap();
        let link = directory.path().join("link");
        std::os::unix::fs::symlink(&pipe, &link).unwrap();
        for path in [&pipe, &link] {
            assert_eq!(read(path).unwrap_err().to_string(), "it is a named pipe, and no ordinary file");
        }
        assert_eq!(special(Path::new("/dev/null")), Some("a device"));
        assert_eq!((special(directory.path()), special(&directory.path().join("none"))), (None, None));
        let file = directory.path().join("file");
        fs::write(&file, "text").unwrap();
        assert_eq!(read(&file).unwrap(), b"text");
        assert_eq!(open(&directory.path().join("none")).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
