//! The comments of a project's WIT, for the component that is made from it. The tools of
//! languages leave them out.

use std::collections::BTreeMap;

use serde::Serialize;

/// The comments of a package, as the custom section `package-docs` has them.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct PackageDocs {
    interfaces: BTreeMap<String, InterfaceDocs>,
}

#[derive(Debug, Default, PartialEq, Eq, Serialize)]
struct InterfaceDocs {
    #[serde(skip_serializing_if = "Option::is_none")]
    docs: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    funcs: BTreeMap<String, FunctionDocs>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    types: BTreeMap<String, TypeDocs>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct FunctionDocs {
    docs: String,
}

#[derive(Debug, Default, PartialEq, Eq, Serialize)]
struct TypeDocs {
    #[serde(skip_serializing_if = "Option::is_none")]
    docs: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    items: BTreeMap<String, String>,
}

/// The version of the format.
const VERSION: u8 = 1;

impl PackageDocs {
    /// Reads the comments of some texts, of which the tools say what is wrong: where a
    /// text is no WIT there are none.
    pub fn read<'t>(texts: impl IntoIterator<Item = &'t str>) -> Self {
        let mut docs = Self::default();
        for text in texts {
            Reader { rest: text, comment: Vec::new() }.package(&mut docs);
        }
        docs
    }

    /// Writes the contents of the section; `None` if there are no comments.
    pub fn section(&self) -> Option<Vec<u8>> {
        if self.interfaces.is_empty() {
            return None;
        }
        let json = serde_json::to_vec(self).ok()?;
        Some([vec![VERSION], json].concat())
    }
}

/// A word is a name or a keyword; all else that means something is one character.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token<'t> {
    Word(&'t str),
    Mark(char),
}

struct Reader<'t> {
    rest: &'t str,
    /// The lines before what comes next.
    comment: Vec<&'t str>,
}

impl<'t> Reader<'t> {
    /// Reads the next token; comments before it are kept.
    fn token(&mut self) -> Option<Token<'t>> {
        loop {
            self.rest = self.rest.trim_start();
            if self.rest.starts_with("//") {
                let (line, rest) = self.rest.split_once('\n').unwrap_or((self.rest, ""));
                if let Some(text) = line.strip_prefix("///").filter(|text| !text.starts_with('/')) {
                    self.comment.push(text);
                }
                self.rest = rest;
            } else if self.rest.starts_with("/*") {
                self.block_comment()?;
            } else {
                break;
            }
        }
        let is_of_word = |c: char| c.is_alphanumeric() || matches!(c, '-' | '%' | '_');
        let end = self.rest.find(|c| !is_of_word(c)).unwrap_or(self.rest.len());
        if end > 0 {
            let (word, rest) = self.rest.split_at(end);
            self.rest = rest;
            return Some(Token::Word(word));
        }
        let mark = self.rest.chars().next()?;
        self.rest = &self.rest[mark.len_utf8()..];
        Some(Token::Mark(mark))
    }

    /// Skips a comment; it may contain others.
    fn block_comment(&mut self) -> Option<()> {
        let text = self.rest;
        let (mut depth, mut at) = (0_u32, 0);
        loop {
            let rest = text.get(at..)?;
            if rest.starts_with("/*") {
                (depth, at) = (depth + 1, at + 2);
            } else if rest.starts_with("*/") {
                (depth, at) = (depth - 1, at + 2);
            } else {
                at += rest.chars().next()?.len_utf8();
            }
            if depth == 0 {
                break;
            }
        }
        self.rest = &text[at..];
        let inner = text[..at].strip_prefix("/**").and_then(|text| text.strip_suffix("*/"));
        let lines = inner.into_iter().flat_map(str::lines);
        self.comment.extend(lines.map(|line| line.trim_start().strip_prefix('*').unwrap_or(line)));
        Some(())
    }

    /// Takes the comment that was kept.
    fn take_comment(&mut self) -> Option<String> {
        let lines = std::mem::take(&mut self.comment);
        let lines = lines.iter().map(|line| line.strip_prefix(' ').unwrap_or(line).trim_end());
        let text = lines.collect::<Vec<_>>().join("\n");
        Some(text.trim().to_owned()).filter(|text| !text.is_empty())
    }

    fn name(&mut self) -> Option<String> {
        match self.token()? {
            Token::Word(word) => Some(word.trim_start_matches('%').to_owned()),
            Token::Mark(_) => None,
        }
    }

    /// Goes behind the next of these marks that is within no parentheses or braces, and
    /// returns it.
    fn skip_to(&mut self, marks: &[char]) -> Option<char> {
        let mut depth = 0_u32;
        loop {
            match self.token()? {
                Token::Mark(mark) if depth == 0 && marks.contains(&mark) => {
                    self.comment.clear();
                    return Some(mark);
                }
                Token::Mark('(' | '{') => depth += 1,
                Token::Mark(')' | '}') => depth = depth.checked_sub(1)?,
                _ => {}
            }
        }
    }

    /// Reads a file's outermost items; `None` when it ends, or is no WIT.
    fn package(&mut self, docs: &mut PackageDocs) -> Option<()> {
        loop {
            match self.token()? {
                Token::Word("interface") => {
                    let comment = self.take_comment();
                    let name = self.name()?;
                    self.opening()?;
                    let interface = InterfaceDocs { docs: comment, ..InterfaceDocs::default() };
                    let interface = self.interface(interface)?;
                    if interface != InterfaceDocs::default() {
                        docs.interfaces.insert(name, interface);
                    }
                }
                // `@since(version = 1.0.0)` stands between a comment and what it is of.
                Token::Mark('@') => self.attribute()?,
                // A world, or another package: none of their comments is of this one's tasks.
                Token::Mark('{') => _ = self.skip_to(&['}'])?,
                Token::Mark(';') => self.comment.clear(),
                _ => {}
            }
        }
    }

    fn opening(&mut self) -> Option<()> {
        (self.token()? == Token::Mark('{')).then_some(())
    }

    fn attribute(&mut self) -> Option<()> {
        self.name()?;
        let before = self.rest.trim_start();
        if before.starts_with('(') {
            let kept = std::mem::take(&mut self.comment);
            self.token()?;
            self.skip_to(&[')'])?;
            self.comment = kept;
        }
        Some(())
    }

    fn interface(&mut self, mut docs: InterfaceDocs) -> Option<InterfaceDocs> {
        loop {
            match self.token()? {
                Token::Mark('}') => return Some(docs),
                Token::Mark('@') => self.attribute()?,
                Token::Mark(_) => return None,
                Token::Word("record" | "variant" | "enum" | "flags") => {
                    let comment = self.take_comment();
                    let name = self.name()?;
                    self.opening()?;
                    let made = TypeDocs { docs: comment, items: self.items()? };
                    if made != TypeDocs::default() {
                        docs.types.insert(name, made);
                    }
                }
                Token::Word("type") => {
                    let comment = self.take_comment();
                    let name = self.name()?;
                    self.skip_to(&[';'])?;
                    if comment.is_some() {
                        docs.types.insert(name, TypeDocs { docs: comment, items: BTreeMap::new() });
                    }
                }
                Token::Word("use") => _ = self.skip_to(&[';'])?,
                Token::Word("resource") => {
                    // With functions of its own, or without.
                    self.name()?;
                    if self.token()? == Token::Mark('{') {
                        self.skip_to(&['}'])?;
                    }
                    self.comment.clear();
                }
                Token::Word(name) => {
                    let comment = self.take_comment();
                    self.skip_to(&[';'])?;
                    if let Some(comment) = comment {
                        docs.funcs
                            .insert(name.trim_start_matches('%').to_owned(), FunctionDocs { docs: comment });
                    }
                }
            }
        }
    }

    /// Reads the fields, cases or flags of a type, to its end.
    fn items(&mut self) -> Option<BTreeMap<String, String>> {
        let mut items = BTreeMap::new();
        loop {
            match self.token()? {
                Token::Mark('}') => return Some(items),
                Token::Mark('@') => self.attribute()?,
                Token::Mark(_) => return None,
                Token::Word(name) => {
                    if let Some(comment) = self.take_comment() {
                        items.insert(name.trim_start_matches('%').to_owned(), comment);
                    }
                    if self.skip_to(&[',', '}'])? == '}' {
                        return Some(items);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> serde_json::Value {
        serde_json::to_value(PackageDocs::read([text])).expect("JSON")
    }

    #[test]
    fn comments_are_of_what_they_stand_before() {
        let text = "\
            /// Of the package.\npackage a:b@1.0.0;\n\n/// All tasks.\n@since(version = 1.0.0)\ninterface tasks {\n\
            use types.{other as %type};\n\
            /// Where.\n/// Exactly:\n///   there.\nrecord point {\n/// To the right.\nx: f64, /// Up.\n%y: list<tuple<u8, u8>>}\n\
            // no documentation\n//// nor this\nenum plain { a, b }\n\
            /** What\n * there is. */ variant shape { /* one */ dot, /** With a size. */ circle(option<f64>), }\n\
            /// May.\nflags access { read, /// Too.\n write }\n/// A number.\ntype number = u32;\n\
            resource file { /// Not a task.\nread: func(); }\n\
            /// Says hello.\n@unstable(feature = x) greet: func(name: string) -> result<point, string>;\n\
            %record: func(); /// It is called so.\n%use: async func();\n}\n\
            /// A world.\nworld w { /// An import.\nimport c:d/e; export tasks; }\n\
            interface empty { x: func(); }\n";
        assert_eq!(
            json(text),
            serde_json::json!({"interfaces": {"tasks": {
                "docs": "All tasks.",
                "funcs": {"greet": {"docs": "Says hello."}, "use": {"docs": "It is called so."}},
                "types": {
                    "point": {"docs": "Where.\nExactly:\n  there.", "items": {"x": "To the right.", "y": "Up."}},
                    "shape": {"docs": "What\nthere is.", "items": {"circle": "With a size."}},
                    "access": {"docs": "May.", "items": {"write": "Too."}},
                    "number": {"docs": "A number."},
                },
            }}})
        );
    }

    #[test]
    fn a_text_that_is_no_wit_has_no_comments_and_an_end() {
        let text = "/// A.\ninterface tasks {\n/// B.\nrecord point { x: f64, }\n/// C.\ngreet: func();\n}\n";
        assert!(PackageDocs::read([text]).section().is_some());
        for length in (0..text.len() - 2).filter(|length| text.is_char_boundary(*length)) {
            assert_eq!(PackageDocs::read([&text[..length]]).section(), None, "{length}");
        }
        for text in ["/* /* */", "interface a { ) }", "}}}}", "@", "interface a { b: func(((((; }", "/**/"] {
            assert_eq!(PackageDocs::read([text]).section(), None, "{text}");
        }
    }
}
