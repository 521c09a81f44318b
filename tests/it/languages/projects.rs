//! Several projects that call each other.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use crate::support::cli::{Output, Sandbox};
use crate::support::toolchains;

/// Builds take longer than anything else, the more so beside other tests.
const PATIENCE: Duration = Duration::from_secs(900);

/// A parent that calls a middle one that calls a child. At first nothing of it is there.
pub const CONFIGURATION: &str = r#"
[component.parent]
path = "parent/build/parent.wasm"
[component.middle]
path = "middle/build/middle.wasm"
[component.child]
path = "child/build/child.wasm"
"#;

/// The parent: asks the interface of another component, and maps its types to the own ones.
pub const PYTHON: &str = r#"
        try:
            centroid = middle.centroid([middle.Point(point.x, point.y) for point in points])
        except Err as error:
            raise Err(f"the middle says: {error.value}")
        return Point(centroid.x, centroid.y)

    def square("#;

/// Several projects in one directory.
pub struct Projects(pub Sandbox);

impl Projects {
    #[track_caller]
    pub fn run<const N: usize>(&self, arguments: [&str; N]) -> Output {
        let command = self.0.command(arguments);
        let homes = toolchains::rust_homes().into_iter();
        homes
            .fold(command, |command, (name, value)| command.env(name, value))
            .env("PATH", toolchains::path_with(&[toolchains::python(), toolchains::native()]))
            .env("CARGO_TARGET_DIR", toolchains::cargo_target())
            .env("ZIG_GLOBAL_CACHE_DIR", toolchains::cache("zig"))
            .env("GOCACHE", toolchains::cache("go"))
            .env("GOPROXY", "off")
            .env("GOTOOLCHAIN", "local")
            .patience(PATIENCE)
            .run()
    }

    pub fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    /// Replaces what stands from `from` up to and with `to`.
    #[track_caller]
    pub fn edit(&self, file: &str, from: &str, to: &str, new: &str) {
        let text = fs::read_to_string(self.path(file)).expect("the file is there");
        let (before, rest) = text.split_once(from).expect("where to begin");
        let (_, after) = rest.split_once(to).expect("where to end");
        fs::write(self.path(file), format!("{before}{new}{after}")).expect("written");
    }

    /// Gives a project in JavaScript or TypeScript what `npm install` would.
    pub fn install_npm(&self, project: &str) {
        let link = self.path(&format!("{project}/node_modules"));
        std::os::unix::fs::symlink(toolchains::node_modules(), link).expect("a link is made");
    }
}
