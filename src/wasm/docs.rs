//! The documentation in a component: its custom section `package-docs`, as `build` and the tools of the
//! component model write it.
//!
//! Nothing depends on it, and its author may have put anything there: a section that can't be read counts as
//! missing, and comments are cut and made harmless to terminals.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;

use super::discover::Export;
use super::output::harmless;
use super::sections::custom_sections;
use crate::model::split_version;

/// The name of the section.
pub const DOCS_SECTION: &str = "package-docs";

/// The largest section that is read.
const MAX_SECTION_BYTES: usize = 1 << 20;

/// The most bytes that are kept of one comment.
const MAX_COMMENT_BYTES: usize = 4096;

/// The versions of the format that are read: the byte before the JSON.
const VERSIONS: [u8; 2] = [0, 1];

#[derive(Deserialize)]
struct Package {
    #[serde(default)]
    interfaces: HashMap<String, Arc<InterfaceDocs>>,
}

/// The comments of an interface.
#[derive(Debug, Default, Deserialize)]
pub(super) struct InterfaceDocs {
    docs: Option<Comment>,
    #[serde(default)]
    funcs: HashMap<String, FunctionDocs>,
    #[serde(default)]
    types: HashMap<String, TypeDocs>,
}

/// The comment of a function: alone in the first version of the format.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum FunctionDocs {
    Comment(Comment),
    More { docs: Option<Comment> },
}

#[derive(Debug, Deserialize)]
struct TypeDocs {
    docs: Option<Comment>,
    /// The comments of its fields, cases or flags.
    #[serde(default)]
    items: HashMap<String, Comment>,
}

/// A comment that can be shown.
#[derive(Debug, Deserialize)]
#[serde(from = "String")]
struct Comment(String);

impl From<String> for Comment {
    fn from(text: String) -> Self {
        let kept = &text[..text.floor_char_boundary(MAX_COMMENT_BYTES)];
        Self(harmless(kept).trim().to_owned())
    }
}

impl Comment {
    fn text(&self) -> Option<&str> {
        Some(&*self.0).filter(|text| !text.is_empty())
    }
}

impl InterfaceDocs {
    /// The comment of the interface itself.
    pub(super) fn interface(&self) -> Option<&str> {
        self.docs.as_ref()?.text()
    }

    /// The comment of a function.
    pub(super) fn function(&self, name: &str) -> Option<&str> {
        match self.funcs.get(name)? {
            FunctionDocs::Comment(comment) => comment.text(),
            FunctionDocs::More { docs } => docs.as_ref()?.text(),
        }
    }

    /// The comment of a type.
    pub(super) fn type_named(&self, name: &str) -> Option<&str> {
        self.types.get(name)?.docs.as_ref()?.text()
    }

    /// The comment of a field, a case or a flag.
    pub(super) fn item(&self, type_name: &str, name: &str) -> Option<&str> {
        self.types.get(type_name)?.items.get(name)?.text()
    }

    /// Adds the comments of types to the `$defs` of a JSON Schema.
    pub(super) fn describe_types(&self, schema: &mut Value) {
        let definitions = schema.get_mut("$defs").and_then(Value::as_object_mut);
        for (name, definition) in definitions.into_iter().flatten() {
            let properties = definition.get_mut("properties").and_then(Value::as_object_mut);
            for (field, property) in properties.into_iter().flatten() {
                describe(property, self.item(name, field));
            }
            describe(definition, self.type_named(name));
        }
    }
}

/// Adds a description to a JSON Schema.
pub(super) fn describe(schema: &mut Value, description: Option<&str>) {
    if let (Value::Object(members), Some(description)) = (schema, description) {
        members.insert("description".to_owned(), description.into());
    }
}

/// Gives exports the documentation of their interfaces.
pub(super) fn attach(bytes: &[u8], exports: &mut [Export]) {
    let Some(Package { interfaces }) = custom_sections(bytes, DOCS_SECTION).last().and_then(read) else {
        return;
    };
    // The section has no names of packages: two interfaces with one name can't be told apart.
    let exported: HashSet<String> =
        exports.iter().filter_map(|export| export.interface.as_deref().map(str::to_owned)).collect();
    let mut count: HashMap<&str, usize> = HashMap::new();
    exported.iter().for_each(|interface| *count.entry(plain_name(interface)).or_default() += 1);
    for export in exports {
        if let Some(name) = export.interface.as_deref().map(plain_name)
            && count.get(name) == Some(&1)
            && let Some(docs) = interfaces.get(name)
        {
            export.docs = Arc::clone(docs);
        }
    }
}

fn read(section: &[u8]) -> Option<Package> {
    let (version, json) = section.split_first().filter(|_| section.len() <= MAX_SECTION_BYTES)?;
    VERSIONS.contains(version).then(|| serde_json::from_slice(json).ok()).flatten()
}

/// The plain name of an interface: `tasks` of `local:hello/tasks@1.0.0`.
fn plain_name(interface: &str) -> &str {
    let (path, _) = split_version(interface);
    path.rsplit_once('/').map_or(path, |(_, name)| name)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn docs(text: &str) -> Arc<InterfaceDocs> {
        let section = [b"\x01".as_slice(), text.as_bytes()].concat();
        read(&section).expect("it can be read").interfaces.remove("tasks").expect("it is there")
    }

    #[test]
    fn both_versions_of_the_format_are_read_and_more_is_ignored() {
        let docs = docs(
            r#"{"docs":"all","worlds":{"w":{"docs":"w"}},"interfaces":{"tasks":{"docs":"These.","stability":"unknown",
            "funcs":{"a":"The first.","b":{"docs":"The second.","stability":{"stable":{"since":"1.0.0"}}},"c":{}},
            "types":{"point":{"docs":"Where.\nExactly.","items":{"x":"Right."}},"empty":{}}}}}"#,
        );
        assert_eq!(docs.interface(), Some("These."));
        let functions = ["a", "b", "c", "d"].map(|name| docs.function(name));
        assert_eq!(functions, [Some("The first."), Some("The second."), None, None]);
        assert_eq!(docs.type_named("point"), Some("Where.\nExactly."));
        assert_eq!((docs.item("point", "x"), docs.item("point", "y")), (Some("Right."), None));
        assert_eq!((docs.type_named("empty"), docs.item("empty", "x")), (None, None));
    }

    #[test]
    fn a_comment_is_short_and_does_nothing_to_a_terminal() {
        let text = json!({"interfaces": {"tasks": {"funcs": {
            "clear": "\u{1b}[2J\rgone\u{202e}", "long": "é".repeat(5000), "blank": " \n",
        }}}});
        let docs = docs(&text.to_string());
        let clear = docs.function("clear").expect("a comment");
        assert!(clear.contains("[2J") && !clear.contains(['\u{1b}', '\r', '\u{202e}']), "{clear:?}");
        assert_eq!(docs.function("long").map(str::len), Some(MAX_COMMENT_BYTES));
        assert_eq!(docs.function("blank"), None);
    }

    #[test]
    fn what_can_not_be_read_is_not_there() {
        let deep = format!("\u{1}{}", r#"{"interfaces":"#.repeat(10_000));
        let long = format!("\u{1}{{\"docs\":\"{}\"}}", "x".repeat(MAX_SECTION_BYTES));
        let wrong =
            ["", "\u{1}", "\u{2}{}", "{}", "\u{1}7", "\u{1}{\"interfaces\":{\"tasks\":{\"funcs\":[]}}}"];
        for section in wrong.into_iter().chain([&*deep, &*long]) {
            assert!(read(section.as_bytes()).is_none(), "{:?}", &section[..section.len().min(80)]);
        }
    }

    #[test]
    fn a_schema_gets_what_is_said_of_its_types() {
        let docs =
            docs(r#"{"interfaces":{"tasks":{"types":{"point":{"docs":"Where.","items":{"x":"Right."}}}}}}"#);
        let mut schema = json!({"$defs": {
            "point": {"properties": {"x": {"type": "number"}, "y": {}}}, "other": {"enum": ["point"]},
        }});
        docs.describe_types(&mut schema);
        assert_eq!(
            schema,
            json!({"$defs": {
                "point": {"properties": {"x": {"type": "number", "description": "Right."}, "y": {}}, "description": "Where."},
                "other": {"enum": ["point"]},
            }})
        );
    }
}
