//! The part of the demo about plugins: `docs/platform.md`, step by step.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};

use crate::demo::{Demo, heading, say};
use crate::guests;
use crate::process::root;

/// A runner in the background, ended with this value.
struct Background(Child);

impl Drop for Background {
    fn drop(&mut self) {
        // It may have ended already; then there is nobody to end.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Shows plugins that come and go while a runner runs.
pub fn show(binary: &Path, directory: &Path) -> Result<()> {
    heading("Customers' plugins: pushed, called, stopped and removed while a runner runs");
    fs::create_dir_all(directory).with_context(|| format!("failed to create `{}`", directory.display()))?;
    let demo = Demo { binary: binary.to_owned(), directory: directory.to_owned() };
    let configuration = root().join("guest-tasks/platform/wasm-runner.toml");
    let configuration =
        fs::read_to_string(&configuration).context("failed to read the example's configuration")?;
    demo.write("wasm-runner.toml", &configuration)?;
    for name in ["dispatcher", "upper", "greedy"] {
        let file = format!("{name}.wasm");
        fs::copy(guests::directory().join(&file), directory.join(&file))
            .with_context(|| format!("failed to copy `{file}`"))?;
    }
    say("In the background: run-wasm-runner start");
    let mut start = Command::new(binary);
    start.arg("start").current_dir(directory).stdin(Stdio::null()).stderr(Stdio::null());
    let _runner = Background(start.spawn().context("failed to start a runner")?);
    demo.print(&["component", "push", "customer-anna", "upper.wasm", "--label", "plan=free"])?;
    demo.print(&["component", "push", "customer-eve", "greedy.wasm"])?;
    demo.print(&["component", "list"])?;
    let call = |customer: &'static str, arguments: &'static str| {
        ["submit", "--wait", "--fairness-key", customer, "dispatcher::transform", arguments]
    };
    demo.print(&call("customer-anna", r#"["customer-anna", "hello world"]"#))?;
    say("A hostile one never ends. It is stopped after a second of its own.");
    demo.print_expecting(1, &call("customer-eve", r#"["customer-eve", "hello"]"#))
        .context("a plugin that never ends should be stopped")?;
    say("It may have a hundred unfinished invocations. The submits beyond are refused.");
    demo.write("texts", &"[\"hello\"]\n".repeat(120))?;
    demo.print_expecting(4, &["submit", "customer-eve::transform", "--batch", "texts"])
        .context("a quota should refuse the submits beyond it")?;
    demo.print(&["quotas"])?;
    demo.print(&["component", "remove", "customer-eve"])?;
    Ok(())
}
