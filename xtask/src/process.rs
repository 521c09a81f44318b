//! Starting other programs: where, with which environment, and what their
//! failure says.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use anyhow::{Context, Result, bail};

/// Returns the repository's root: that from which cargo runs this, for two work trees may share a target
/// folder.
pub fn root() -> &'static Path {
    static ROOT: LazyLock<PathBuf> = LazyLock::new(|| {
        let built_in = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
        // A test that starts this has the folder of its own package there.
        let folder = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
        let folder = folder.filter(|folder| folder.file_name() == built_in.file_name()).unwrap_or(built_in);
        folder.parent().expect("xtask is a folder of the repository").to_owned()
    });
    &ROOT
}

/// Finds the directory of everything that cargo builds: `CARGO_TARGET_DIR` if set, else `target`.
pub fn target_dir() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(directory) => root().join(directory),
        None => root().join("target"),
    }
}

/// Cargo for the host's own workspace, in the repository's root.
pub fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    // Set by the cargo that runs this program, about this program.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
    command.env("CARGO_TARGET_DIR", target_dir());
    command
}

/// Cargo for the guests: nothing that is meant for the host's build reaches it,
/// neither flags nor a target nor a profile.
pub fn guest_cargo() -> Command {
    const KEPT: [&str; 5] = ["CARGO_HOME", "CARGO_HTTP_", "CARGO_NET_", "CARGO_REGISTR", "CARGO_TERM_"];
    let mut command = cargo();
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        let kept = KEPT.iter().any(|prefix| text.starts_with(prefix));
        let flags = matches!(
            text.as_ref(),
            "RUSTFLAGS" | "RUSTDOCFLAGS" | "RUSTC_WRAPPER" | "RUSTC_WORKSPACE_WRAPPER"
        );
        if flags || text.starts_with("CARGO_") && !kept {
            command.env_remove(&name);
        }
    }
    command
        .current_dir(root().join("guest-tasks"))
        .env("CARGO_TARGET_DIR", target_dir().join("guests-build"));
    command
}

/// Makes sure that there is what compiles libFuzzer, which is C++. Only tests need it.
pub fn ensure_cpp_compiler() -> Result<()> {
    const PACKAGE: &str = "g++";
    if std::env::var_os("CXX").is_some() || is_installed("c++") {
        return Ok(());
    }
    let user = Command::new("id").arg("-u").output().context("failed to start `id`")?;
    if user.stdout.trim_ascii() != b"0" || !is_installed("apt-get") {
        bail!(
            "`c++` is missing, which libFuzzer is compiled with: install a C++ compiler \
             (on Debian: `apt-get install {PACKAGE}`)"
        );
    }
    run(Command::new("apt-get").arg("update"))?;
    run(Command::new("apt-get")
        .args(["install", "-y", "--no-install-recommends", PACKAGE])
        .env("DEBIAN_FRONTEND", "noninteractive"))
}

/// Tells whether there is a program of this name.
fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(program).is_file())
}

/// Runs a command to its end; a failure names the command.
pub fn run(command: &mut Command) -> Result<()> {
    let shown = show(command);
    match command.get_current_dir() {
        Some(directory) if directory != root() => eprintln!("{} $ {shown}", directory.display()),
        _ => eprintln!("$ {shown}"),
    }
    let status = command.status().with_context(|| format!("failed to start `{shown}`"))?;
    if !status.success() {
        bail!("`{shown}` failed: {status}");
    }
    Ok(())
}

/// The command as one would type it.
pub fn show(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let program = program.file_name().unwrap_or(command.get_program());
    std::iter::once(program)
        .chain(command.get_args())
        .map(|word| quote(&word.to_string_lossy()))
        .collect::<Vec<_>>()
        .join(" ")
}

/// Quotes a word for a POSIX shell, if it needs it.
pub fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@+%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::quote;

    #[test]
    fn words_are_quoted_only_when_a_shell_would_split_them() {
        assert_eq!(quote("demo:text/wordcount.count"), "demo:text/wordcount.count");
        assert_eq!(quote(r#"["/text", 12]"#), r#"'["/text", 12]'"#);
        assert_eq!(quote("it's"), r"'it'\''s'");
        assert_eq!(quote(""), "''");
    }
}
