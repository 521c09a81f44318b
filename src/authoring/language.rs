//! The languages that `new` and `build` know.

use clap::ValueEnum;

/// A language that tasks are written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Language {
    /// Rust, with cargo and wit-bindgen
    Rust,
    /// Python, with componentize-py
    Python,
    /// JavaScript, with componentize-qjs
    #[value(name = "javascript", alias = "js")]
    JavaScript,
    /// TypeScript, with tsc, esbuild and componentize-qjs
    #[value(name = "typescript", alias = "ts")]
    TypeScript,
    /// Go, with its own compiler
    Go,
    /// C, with Zig's compiler
    C,
    /// C++, with Zig's compiler
    #[value(name = "cpp", alias = "c++")]
    Cpp,
}

impl Language {
    /// Returns its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rust => "rust",
            Self::Python => "python",
            Self::JavaScript => "javascript",
            Self::TypeScript => "typescript",
            Self::Go => "go",
            Self::C => "c",
            Self::Cpp => "cpp",
        }
    }
}

impl std::fmt::Display for Language {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}
