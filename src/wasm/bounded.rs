//! Directories whose files only save time: they have a bound, and the files that were used longest ago are removed.

use std::ffi::OsStr;
use std::fs::{self, OpenOptions};
use std::path::Path;
use std::time::{Duration, SystemTime};

use tracing::debug;

/// The most bytes that the files of one directory take together.
pub const MAX_BYTES: u64 = 4 << 30;
/// The extension of files that are still being written.
pub(super) const TEMPORARY: &str = "tmp";
/// The age at which a file that was being written has surely been given up.
const ABANDONED: Duration = Duration::from_secs(24 * 60 * 60);

/// Removes the files with an extension that were used longest ago until the rest is within the bound, and unfinished
/// files that other processes have given up. Files that are in use count, but are never removed.
pub fn tidy(directory: &Path, extension: &str, max_bytes: u64, is_in_use: impl Fn(&Path) -> bool) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    let now = SystemTime::now();
    let mut files = Vec::new();
    for entry in entries.flatten() {
        let path = entry.path();
        // Another process may remove it at the same time; then it is gone.
        let Some(metadata) = entry.metadata().ok().filter(fs::Metadata::is_file) else { continue };
        let used = metadata.modified().unwrap_or(now);
        match path.extension().and_then(OsStr::to_str) {
            Some(found) if found == extension => files.push((used, metadata.len(), path)),
            Some(TEMPORARY) if now.duration_since(used).is_ok_and(|age| age > ABANDONED) => {
                let _ = fs::remove_file(&path);
            }
            // Not ours: left alone.
            _ => {}
        }
    }
    let mut total: u64 = files.iter().map(|(_, bytes, _)| bytes).sum();
    files.sort();
    for (_, bytes, path) in files {
        if total <= max_bytes {
            break;
        }
        if !is_in_use(&path) && fs::remove_file(&path).is_ok() {
            debug!("removed `{}` to stay within {max_bytes} bytes", path.display());
            total -= bytes;
        }
    }
}

/// Notes that a file was used now, for [`tidy`].
pub fn touch(path: &Path) {
    let touched =
        OpenOptions::new().append(true).open(path).and_then(|file| file.set_modified(SystemTime::now()));
    if let Err(error) = touched {
        debug!("can't note the use of `{}`: {error}", path.display());
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    #[test]
    fn what_is_in_use_stays_however_much_it_is() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        for (age, name) in ["d.wasm", "c.wasm", "b.wasm", "a.wasm"].iter().enumerate() {
            let file = File::create(path(name)).unwrap();
            file.set_len(10).unwrap();
            file.set_modified(SystemTime::now() - Duration::from_secs(age as u64 * 60)).unwrap();
        }
        let left = |max_bytes, in_use: &[&str]| {
            tidy(directory.path(), "wasm", max_bytes, |file| in_use.iter().any(|name| file == path(name)));
            ["a.wasm", "b.wasm", "c.wasm", "d.wasm"].map(|name| path(name).exists())
        };
        assert_eq!(left(40, &[]), [true; 4]);
        assert_eq!(left(30, &["a.wasm"]), [true, false, true, true]);
        touch(&path("c.wasm"));
        assert_eq!(left(20, &["a.wasm"]), [true, false, true, false]);
        assert_eq!(left(5, &["a.wasm"]), [true, false, false, false]);
    }
}
