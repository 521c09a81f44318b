//! As much of a Rust file as its imports need.

use std::collections::HashSet;

use super::ModulePath;

/// A file of a crate.
#[derive(Default)]
pub(super) struct File {
    pub(super) name: String,
    /// The modules with files that it declares for tests alone.
    pub(super) test_modules: Vec<String>,
    /// The names of its items, those of inline modules included.
    pub(super) items: HashSet<String>,
    pub(super) uses: Vec<Use>,
    /// The paths of two segments or more in its code, each with the inline module around it.
    pub(super) paths: Vec<(ModulePath, Vec<String>)>,
    /// Every word outside of `use` items.
    pub(super) mentioned: HashSet<String>,
}

/// One name that a `use` item imports.
pub(super) struct Use {
    /// The inline module around it.
    pub(super) within: ModulePath,
    pub(super) path: Vec<String>,
    /// Its name from there on; `*` for a glob.
    pub(super) name: String,
    pub(super) is_reexport: bool,
}

/// The words that an item's name follows.
const ITEMS: [&str; 9] = ["fn", "struct", "enum", "trait", "type", "const", "static", "union", "macro_rules"];

impl File {
    pub(super) fn read(name: String, text: &str) -> Self {
        let mut file = Self { name, ..Self::default() };
        let tokens = tokens(text);
        // The inline modules around, and how many braces were open before each.
        let mut within: Vec<(String, usize)> = Vec::new();
        let (mut depth, mut at) = (0, 0);
        while at < tokens.len() {
            let token = &*tokens[at];
            let next = tokens.get(at + 1).map_or("", |token| &**token);
            if tokens[at..].starts_with(&["#", "[", "cfg", "(", "test", ")", "]"].map(str::to_owned)) {
                at = file.skip_item(&tokens, at + 7);
                continue;
            }
            match token {
                "{" => depth += 1,
                "}" => {
                    depth -= 1;
                    within.pop_if(|(_, before)| *before == depth);
                }
                "mod" if tokens.get(at + 2).is_some_and(|token| token == "{") => {
                    within.push((next.to_owned(), depth));
                    depth += 1;
                    at += 3;
                    continue;
                }
                "use" if next != "<" => {
                    let is_reexport = at > 0 && ["pub", ")"].contains(&&*tokens[at - 1]);
                    let within = within.iter().map(|(name, _)| name.clone()).collect();
                    let mut leaves = Vec::new();
                    at = use_tree(&tokens, at + 1, &[], &mut leaves);
                    file.uses.extend(leaves.into_iter().map(|(path, name)| Use {
                        within: ModulePath::clone(&within),
                        path,
                        name,
                        is_reexport,
                    }));
                    continue;
                }
                _ if ITEMS.contains(&token) => {
                    let skipped = tokens[at + 1..].iter().find(|token| !["!", "mut"].contains(&&***token));
                    file.items.extend(skipped.cloned());
                }
                _ if is_word(token) => {
                    let mut path = vec![token.to_owned()];
                    while tokens[at + 1..].first().is_some_and(|token| token == "::")
                        && tokens.get(at + 2).is_some_and(|token| is_word(token))
                    {
                        path.push(tokens[at + 2].clone());
                        at += 2;
                    }
                    file.mentioned.insert(path[0].clone());
                    if path.len() > 1 {
                        let within = within.iter().map(|(name, _)| name.clone()).collect();
                        file.paths.push((within, path));
                    }
                }
                _ => {}
            }
            at += 1;
        }
        file
    }

    /// The end of the item that begins here, or of an expression or field.
    fn skip_item(&mut self, tokens: &[String], mut at: usize) -> usize {
        let mut depth = 0;
        while at < tokens.len() {
            match &*tokens[at] {
                "{" | "(" | "[" => depth += 1,
                "}" | ")" | "]" if depth == 0 => return at,
                "}" if depth == 1 => return at + 1,
                "}" | ")" | "]" => depth -= 1,
                ";" | "," if depth == 0 => return at + 1,
                "mod" if depth == 0 && tokens.get(at + 2).is_some_and(|token| token == ";") => {
                    self.test_modules.push(tokens[at + 1].clone());
                }
                _ => {}
            }
            at += 1;
        }
        at
    }
}

/// Reads a tree of a `use` item, and returns where it ends: at its `;`, `,` or `}`.
fn use_tree(
    tokens: &[String],
    mut at: usize,
    before: &[String],
    leaves: &mut Vec<(Vec<String>, String)>,
) -> usize {
    let mut path = before.to_vec();
    loop {
        match &*tokens[at] {
            "{" => {
                at += 1;
                while tokens[at] != "}" {
                    at = use_tree(tokens, at, &path, leaves);
                    at += usize::from(tokens[at] == ",");
                }
                return at + 1;
            }
            "::" => at += 1,
            ";" | "," | "}" => break,
            "as" => {
                leaves.push((path, tokens[at + 1].clone()));
                return at + 2;
            }
            // `use a::{self}` imports `a`.
            "self" if !path.is_empty() => at += 1,
            segment => {
                path.push(segment.to_owned());
                at += 1;
            }
        }
    }
    if let Some(name) = path.last().cloned() {
        leaves.push((path, name));
    }
    at
}

fn is_word(token: &str) -> bool {
    token.starts_with(|first: char| first.is_alphabetic() || first == '_')
}

/// Splits a text into words, `::` and single signs; comments and literals are left out.
fn tokens(text: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            block_comment(rest)
        } else if let Some(length) = literal(rest) {
            length
        } else if first.is_alphanumeric() || first == '_' {
            let length = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
            tokens.push(rest[..length].to_owned());
            length
        } else if rest.starts_with("::") {
            tokens.push("::".to_owned());
            2
        } else {
            if !first.is_whitespace() {
                tokens.push(first.to_string());
            }
            first.len_utf8()
        };
        rest = &rest[length..];
    }
    tokens
}

fn block_comment(text: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < text.len() {
        if text[at..].starts_with("/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if text[at..].starts_with("*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                break;
            }
        } else {
            at += text[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    at
}

/// The length of a string, a character or a lifetime that begins here.
fn literal(text: &str) -> Option<usize> {
    let unprefixed = text.trim_start_matches(['b', 'c']);
    let prefix = text.len() - unprefixed.len();
    if prefix > 1 {
        return None;
    }
    if let Some(raw) = unprefixed.strip_prefix('r') {
        let inside = raw.trim_start_matches('#');
        let hashes = raw.len() - inside.len();
        let inside = inside.strip_prefix('"')?;
        let end = format!("\"{}", "#".repeat(hashes));
        return Some(prefix + 1 + hashes + 1 + inside.find(&end)? + end.len());
    }
    if let Some(inside) = unprefixed.strip_prefix('"') {
        return Some(prefix + 1 + quoted(inside, '"')?);
    }
    let inside = unprefixed.strip_prefix('\'')?;
    let mut characters = inside.chars();
    let (first, second) = (characters.next()?, characters.next()?);
    match first == '\\' || second == '\'' {
        true => Some(prefix + 1 + quoted(inside, '\'')?),
        false if prefix == 0 => {
            // A lifetime: its name is no word of the code.
            Some(1 + inside.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(inside.len()))
        }
        false => None,
    }
}

/// The length of what is left of a quoted literal, its end included.
fn quoted(inside: &str, end: char) -> Option<usize> {
    let mut is_escaped = false;
    for (at, character) in inside.char_indices() {
        match character {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            _ if character == end => return Some(at + 1),
            _ => {}
        }
    }
    None
}
