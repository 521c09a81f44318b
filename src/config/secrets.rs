//! Where secrets come from.

use super::component::Component;
use super::problem::{Origin, Problem};
use crate::regular_file;
use crate::wasm::{SecretGrant, SecretSource};

/// The shortest secret, in bytes: a shorter one would be found in any text.
const SHORTEST: usize = 4;

/// The longest one.
const LONGEST: u64 = 64 << 10;

/// Reads the values of all secrets of these components.
///
/// # Errors
///
/// A problem for each that can't be had. None has a value in it.
pub fn read_secrets<'c>(components: impl Iterator<Item = &'c Component>) -> Result<(), Vec<Problem>> {
    let mut problems = Vec::new();
    for component in components {
        for secret in &component.grants.secrets {
            match read(secret) {
                Ok(value) => secret.fill(value),
                Err(why) => {
                    let message = format!(
                        "component `{}`: the secret `{}` can't be read: {why}",
                        component.name, secret.name
                    );
                    problems.push(Problem::new(Origin::File, message));
                }
            }
        }
    }
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}

fn read(secret: &SecretGrant) -> Result<String, String> {
    let (value, place) = match &secret.source {
        SecretSource::File(path) => {
            let shown = format!("the file `{}`", path.display());
            let wrong = |error: std::io::Error| match error.kind() {
                std::io::ErrorKind::NotFound => format!("{shown} does not exist"),
                _ => format!("{shown}: {error}"),
            };
            // A directory, a pipe or a disk would be read for ever, or not at all.
            let metadata = std::fs::metadata(path).map_err(wrong)?;
            if !metadata.is_file() {
                return Err(format!("{shown} is not a file"));
            }
            if metadata.len() > LONGEST {
                return Err(format!("{shown} has more than {LONGEST} bytes"));
            }
            let bytes = regular_file::read(path).map_err(wrong)?;
            let text = String::from_utf8(bytes).map_err(|_| format!("{shown} is not UTF-8"))?;
            let line = text.strip_suffix('\n').map(|line| line.strip_suffix('\r').unwrap_or(line));
            (line.unwrap_or(&text).to_owned(), shown)
        }
        SecretSource::Environment(name) => {
            let shown = format!("the variable `{name}`");
            let value = std::env::var_os(name).ok_or_else(|| format!("{shown} is not set"))?;
            (value.into_string().map_err(|_| format!("{shown} is not UTF-8"))?, shown)
        }
    };
    if value.contains('\0') {
        return Err(format!("{place} has a NUL in it, which no variable can have"));
    }
    if value.len() < SHORTEST {
        return Err(format!(
            "{place} has fewer than {SHORTEST} bytes, which can't be told from other text in logs"
        ));
    }
    Ok(value)
}
