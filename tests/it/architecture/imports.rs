//! Which file of a crate imports from which, and the circles among them.
//!
//! An import counts for the file that defines what is imported: a façade that only declares and
//! re-exports is no station on the way. What a file imports: its `use` items, of those that re-export
//! only what its own code mentions; and the paths in its code that begin with `crate`, `super`, `self`,
//! a child module or an imported module. A glob counts for the module it is of and for everything that
//! this re-exports. To declare a module is no import, and code under `#[cfg(test)]` does not count.

mod parse;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use parse::{File, Use};

/// A module path from the root of the crate; the root's is empty.
type ModulePath = Vec<String>;

/// More re-exports of re-exports than any name goes through.
const MOST_STEPS: usize = 16;

/// The files of a library crate by the modules that they are.
pub struct Crate {
    files: BTreeMap<ModulePath, File>,
}

impl Crate {
    /// Reads every file below `root`, which has the `lib.rs`.
    pub fn read(root: &Path) -> Self {
        let mut found = Vec::new();
        super::files(root, &mut found);
        found.retain(|path| super::has_extension(path, &["rs"]));
        Self::of(found.into_iter().map(|path| {
            let name = path.strip_prefix(root).expect("below it").display().to_string();
            (name, std::fs::read_to_string(path).expect("a text"))
        }))
    }

    /// Makes a crate of names of files, relative to its root, and their texts.
    fn of(texts: impl IntoIterator<Item = (String, String)>) -> Self {
        let mut files: BTreeMap<ModulePath, File> = texts
            .into_iter()
            .filter(|(name, _)| name != "main.rs")
            .map(|(name, text)| (module_path(&name), File::read(name, &text)))
            .collect();
        let for_tests: Vec<ModulePath> = files
            .iter()
            .flat_map(|(path, file)| file.test_modules.iter().map(|name| joined(path, name)))
            .collect();
        files.retain(|path, _| !for_tests.iter().any(|tests| path.starts_with(tests)));
        Self { files }
    }

    /// The circles of more than `most` files, each as the sorted names of its files.
    pub fn circles_larger_than(&self, most: usize) -> Vec<Vec<String>> {
        let imports: BTreeMap<_, _> = self.files.keys().map(|path| (path, self.imports(path))).collect();
        let mut circles = Vec::new();
        let mut left: BTreeSet<_> = self.files.keys().collect();
        while let Some(path) = left.first().copied() {
            let reached = reachable(&imports, path);
            // Whoever is reached and reaches back, and the file itself.
            let mut circle: BTreeSet<_> =
                reached.into_iter().filter(|other| reachable(&imports, other).contains(path)).collect();
            circle.insert(path);
            left.retain(|path| !circle.contains(path));
            if circle.len() > most {
                circles.push(circle.into_iter().map(|path| self.files[path].name.clone()).collect());
            }
        }
        circles
    }

    /// The imports between the files of a circle, a line each.
    pub fn explain(&self, circle: &[String]) -> String {
        let mut lines = Vec::new();
        for (path, file) in self.files.iter().filter(|(_, file)| circle.contains(&file.name)) {
            let targets = self.imports(path).into_iter().map(|target| &self.files[&target].name);
            let targets: Vec<_> = targets.filter(|name| circle.contains(name)).map(|name| &**name).collect();
            lines.push(format!("    {} imports from {}", file.name, targets.join(", ")));
        }
        lines.join("\n")
    }

    /// The files that a file imports from.
    fn imports(&self, from: &ModulePath) -> BTreeSet<ModulePath> {
        let file = &self.files[from];
        let mut found = BTreeSet::new();
        let counted = file.uses.iter().filter(|one| !one.is_reexport || file.mentioned.contains(&one.name));
        let paths = counted.map(|one| (&one.within, &one.path));
        for (within, path) in paths.chain(file.paths.iter().map(|(within, path)| (within, path))) {
            let module: ModulePath = from.iter().chain(within).cloned().collect();
            self.resolve(&module, path, MOST_STEPS, &mut found);
        }
        found.remove(from);
        found
    }

    /// Adds the files that define what `path` names in a module; none if that is not of this crate.
    fn resolve(&self, module: &[String], path: &[String], steps: usize, found: &mut BTreeSet<ModulePath>) {
        assert!(steps > 0, "`{}` in `{}` is re-exported in a circle", path.join("::"), module.join("::"));
        let (mut at, mut rest) = (module.to_vec(), path);
        match path.first().map(|first| &**first) {
            Some("crate") => (at, rest) = (ModulePath::new(), &rest[1..]),
            Some("self") => rest = &rest[1..],
            Some("super") => {
                while rest.first().is_some_and(|first| first == "super") {
                    at.pop();
                    rest = &rest[1..];
                }
            }
            Some(name) if self.files.contains_key(&joined(&at, name)) => {}
            Some(name) if self.uses_in(&at).any(|one| one.name == name && one.path != path) => {}
            // Another crate, or an item of its own.
            _ => return,
        }
        // A path that ends at a module imports what is later taken from there.
        while let Some((segment, others)) = rest.split_first() {
            if self.files.contains_key(&joined(&at, segment)) {
                at.push(segment.clone());
                rest = others;
                continue;
            }
            let (file, _) = self.file_of(&at);
            let is_glob = segment == "*";
            let mut is_named = self.files[&file].items.contains(segment);
            if is_named || is_glob {
                found.insert(file);
            }
            for one in self.uses_in(&at).filter(|one| one.name == *segment || is_glob && one.is_reexport) {
                is_named = true;
                let path: Vec<_> = one.path.iter().chain(others).cloned().collect();
                self.resolve(&at, &path, steps - 1, found);
            }
            // What is named goes before what a glob brings.
            for one in self.uses_in(&at).filter(|one| one.name == "*" && !is_named) {
                let path: Vec<_> = one.path[..one.path.len() - 1].iter().chain(rest).cloned().collect();
                self.resolve(&at, &path, steps - 1, found);
            }
            return;
        }
    }

    /// The `use` items of a module, which may be an inline one.
    fn uses_in(&self, module: &[String]) -> impl Iterator<Item = &Use> {
        let (file, inline) = self.file_of(module);
        self.files[&file].uses.iter().filter(move |one| one.within == inline)
    }

    /// The file that a module is in, and the module's path inside it.
    fn file_of(&self, module: &[String]) -> (ModulePath, ModulePath) {
        let depth = (0..=module.len()).rev().find(|depth| self.files.contains_key(&module[..*depth]));
        let (file, inline) = module.split_at(depth.expect("the root is a file"));
        (file.to_vec(), inline.to_vec())
    }
}

/// Every file that is imported from `path`, directly or not.
fn reachable<'a>(
    imports: &'a BTreeMap<&ModulePath, BTreeSet<ModulePath>>,
    path: &ModulePath,
) -> BTreeSet<&'a ModulePath> {
    let mut reached = BTreeSet::new();
    let mut next: Vec<&ModulePath> = imports[path].iter().collect();
    while let Some(path) = next.pop() {
        if reached.insert(path) {
            next.extend(&imports[path]);
        }
    }
    reached
}

fn joined(path: &[String], name: &str) -> ModulePath {
    path.iter().cloned().chain([name.to_owned()]).collect()
}

/// The module that a file is: `wasm/network/mod.rs` and `wasm/network.rs` are `wasm::network`.
fn module_path(name: &str) -> ModulePath {
    let name = name.trim_end_matches(".rs");
    let name = name.strip_suffix("/mod").unwrap_or(name);
    match name {
        "lib" => ModulePath::new(),
        _ => name.split('/').map(str::to_owned).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::Crate;

    fn circles(files: &[(&str, &str)]) -> Vec<Vec<String>> {
        let texts = files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
        Crate::of(texts).circles_larger_than(2)
    }

    /// A façade over three files, each of which gets what the text says before its own item.
    fn facade(a: &str, b: &str, c: &str) -> Vec<Vec<String>> {
        circles(&[
            ("lib.rs", "pub mod all;"),
            (
                "all/mod.rs",
                "mod a; mod b; mod c; pub use a::A; pub use b::{B, B as Bee}; pub(crate) use c::*;",
            ),
            ("all/a.rs", &format!("{a} pub struct A;")),
            ("all/b.rs", &format!("{b} pub struct B;")),
            ("all/c.rs", &format!("{c} pub struct C;")),
        ])
    }

    fn all() -> Vec<Vec<String>> {
        vec![["all/a.rs", "all/b.rs", "all/c.rs"].map(str::to_owned).to_vec()]
    }

    #[test]
    fn a_facade_is_no_part_of_a_circle() {
        let none: Vec<Vec<String>> = Vec::new();
        assert_eq!(facade("use super::B;", "use super::C;", ""), none);
        assert_eq!(facade("use super::B;", "use super::{A, C};", ""), none, "two files may");
    }

    #[test]
    fn a_circle_is_found_however_it_is_imported() {
        let ways = [
            ("use super::B;", "use super::C;", "use super::A;"),
            (
                "use super::{b::B, b};",
                "use crate::all::{self, c::{C as See}};",
                "pub(super) use super::a::A; fn f(_: A) {}",
            ),
            (
                "fn f(_: super::Bee) {}",
                "fn f() { let _ = crate::all::c::C; }",
                "use super::a; fn f(_: a::A) {}",
            ),
            ("use crate::all; fn f(_: all::B) {}", "use super::c::*;", "use super::{A as Aye};"),
            ("mod inner { use super::super::B; }", "use super::C;", "fn f() { use super::A; }"),
        ];
        for (a, b, c) in ways {
            assert_eq!(facade(a, b, c), all(), "{a} {b} {c}");
        }
        assert_eq!(
            facade("use super::*;", "use super::A;", ""),
            Vec::<Vec<String>>::new(),
            "without an import of `a` or `b`, `c` is in no circle"
        );
        assert_eq!(facade("use super::*;", "", "use super::B; use super::A;").len(), 0);
        assert_eq!(facade("use super::B;", "use super::*;", "use super::A;"), all());
    }

    #[test]
    fn text_tests_and_reexports_are_no_imports() {
        let c = r####"
            // use super::A;
            /* use super::A; /* nested */ use super::A; */
            const TEXT: &str = "use super::A;"; const RAW: &str = r#"use super::A; ""#; const Q: char = '"';
            fn lifetime<'a>(x: &'a str) -> &'a str { x }
            #[cfg(test)]
            #[allow(unused)]
            mod tests { use super::super::A; mod more { fn f() { let _ = super::super::super::A; } } }
            #[cfg(test)]
            use super::A;
            pub use super::A as Renamed;
        "####;
        assert_eq!(facade("use super::B;", "use super::C;", c), Vec::<Vec<String>>::new());
        let mentioned = format!("{c} fn f(_: Renamed) {{}}");
        assert_eq!(facade("use super::B;", "use super::C;", &mentioned), all());
    }

    #[test]
    fn files_for_tests_do_not_count_and_parents_with_code_do() {
        let parent = |tests: &str| {
            circles(&[
                ("lib.rs", "mod all;"),
                ("all.rs", &format!("mod a; mod b; {tests} use self::a::A; pub struct Own(A);")),
                ("all/a.rs", "use super::b::B; pub struct A;"),
                ("all/b.rs", "pub struct B;"),
                ("all/tests.rs", "use super::a::A; pub struct T;"),
            ])
        };
        assert_eq!(parent("#[cfg(test)] mod tests;").len(), 0);
        let circle = circles(&[
            ("lib.rs", "mod all;"),
            ("all.rs", "mod a; mod b; use self::a::A; pub struct Own(A);"),
            ("all/a.rs", "use super::b::B; pub struct A;"),
            ("all/b.rs", "use super::Own; pub struct B;"),
        ]);
        assert_eq!(circle, [["all.rs", "all/a.rs", "all/b.rs"].map(str::to_owned).to_vec()]);
    }
}
