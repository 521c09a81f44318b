//! The component that `run-wasm-runner build` carries inside itself. It takes long to
//! build, so it is built by hand, and a digest of its sources beside it shows whether
//! it is theirs.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};

use crate::guests::{self, TARGET};
use crate::process::{guest_cargo, root, run, target_dir};

const SOURCES: &str = "sdk/componentize";
const COMPONENT: &str = "sdk/componentize.wasm.gz";
const DIGEST: &str = "sdk/componentize.sources";

/// Builds it and puts it where the program includes it.
pub fn put() -> Result<()> {
    guests::ensure_target()?;
    let target = target_dir().join("guests-build");
    let mut cargo = guest_cargo();
    cargo.current_dir(root().join(SOURCES)).args(["build", "--release", "--locked", "--target", TARGET]);
    run(&mut cargo)?;
    let built = target.join(TARGET).join("release/componentize.wasm");
    let bytes = fs::read(&built).with_context(|| format!("failed to read `{}`", built.display()))?;
    let mut packed = GzEncoder::new(Vec::new(), Compression::best());
    packed.write_all(&bytes)?;
    fs::write(root().join(COMPONENT), packed.finish()?)?;
    fs::write(root().join(DIGEST), digest(&root().join(SOURCES))? + "\n")?;
    Ok(())
}

/// A digest of all files below a folder, but for what was built there.
fn digest(folder: &Path) -> Result<String> {
    let mut files = files(folder)?;
    files.sort();
    let mut digest = Sha256::new();
    for file in files {
        let name = file.strip_prefix(folder)?.to_string_lossy().into_owned();
        let bytes = fs::read(&file)?;
        digest.update(format!("{name}\n{}\n", bytes.len()));
        digest.update(bytes);
    }
    Ok(digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("failed to read `{}`", folder.display()))? {
        let path = entry?.path();
        match path.is_dir() {
            true if path.ends_with("target") => {}
            true => found.extend(files(&path)?),
            false => found.push(path),
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_component_that_the_program_carries_is_made_of_these_sources() {
        let recorded = fs::read_to_string(root().join(DIGEST)).unwrap();
        let now = digest(&root().join(SOURCES)).unwrap();
        assert_eq!(recorded.trim(), now, "refresh it: `cargo xtask componentize`");
    }
}
