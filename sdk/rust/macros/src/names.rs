//! Names in Rust, in WIT and in the bindings.

use proc_macro2::Span;
use syn::{Ident, Result};

/// Words of WIT, which are names only with `%` before them.
const WIT_WORDS: &str = "\
    as async bool borrow char constructor enum error-context export f32 f64 flags from func future import include \
    interface list map option own package record resource result s16 s32 s64 s8 static stream string tuple type u16 \
    u32 u64 u8 use variant with world";

/// Words of Rust, to which the bindings append `_`.
const RUST_WORDS: &str = "\
    as break const continue crate else enum extern false fn for if impl in let loop match mod move mut pub ref return \
    self static struct super trait true type unsafe use where while async await dyn abstract become box do final macro \
    override priv typeof unsized virtual yield try";

/// The name of something as WIT has it: `HttpServer` and `http_server` are `http-server`.
pub fn kebab(ident: &Ident) -> Result<String> {
    let text = ident.to_string();
    let text = text.strip_prefix("r#").unwrap_or(&text).trim_matches('_');
    let mut name = String::new();
    let characters: Vec<char> = text.chars().collect();
    for (index, c) in characters.iter().enumerate() {
        let before = index.checked_sub(1).map(|index| characters[index]);
        let after = characters.get(index + 1);
        let begins = c.is_ascii_uppercase()
            && before.is_some_and(|before| {
                before.is_ascii_lowercase()
                    || before.is_ascii_digit()
                    || (before.is_ascii_uppercase() && after.is_some_and(char::is_ascii_lowercase))
            });
        if begins {
            name.push('-');
        }
        name.push(if *c == '_' { '-' } else { c.to_ascii_lowercase() });
    }
    if !is_name(&name) {
        let message = format!(
            "`{text}` can't be a name in WIT, where names are words of letters and digits, each beginning with a letter"
        );
        return Err(syn::Error::new(ident.span(), message));
    }
    Ok(name)
}

/// Tells whether WIT has such names.
pub fn is_name(name: &str) -> bool {
    name.split('-').all(|word| {
        word.starts_with(|c: char| c.is_ascii_lowercase())
            && word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit())
    })
}

/// As it is written in WIT.
pub fn escaped(name: &str) -> String {
    if WIT_WORDS.split(' ').any(|word| word == name) { format!("%{name}") } else { name.to_owned() }
}

/// A function, field or module of the bindings.
pub fn snake(name: &str) -> Ident {
    let text = name.replace('-', "_");
    let is_word = RUST_WORDS.split(' ').any(|word| word == text);
    Ident::new(&if is_word { format!("{text}_") } else { text }, Span::call_site())
}

/// A flag of the bindings.
pub fn constant(name: &str) -> Ident {
    Ident::new(&name.replace('-', "_").to_ascii_uppercase(), Span::call_site())
}

/// A type or case of the bindings.
pub fn camel(name: &str) -> Ident {
    let word = |word: &str| word[..1].to_ascii_uppercase() + &word[1..];
    let text: String = name.split('-').map(word).collect();
    // The bindings have a trait of that name.
    Ident::new(if text == "Guest" { "Guest_" } else { &text }, Span::call_site())
}
