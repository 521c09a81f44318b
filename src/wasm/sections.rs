//! The outermost sections of a component or a core module: both are a preamble of eight
//! bytes, then sections with a kind and a length.
//!
//! A malformed section ends the reading.

const PREAMBLE: usize = 8;
const CUSTOM: u8 = 0;
/// In a component, not in a core module.
const CORE_MODULE: u8 = 1;

struct Sections<'b> {
    rest: &'b [u8],
}

impl<'b> Sections<'b> {
    fn new(bytes: &'b [u8]) -> Self {
        Self { rest: bytes.get(PREAMBLE..).unwrap_or_default() }
    }
}

/// The reasons why the reading ends early.
#[derive(PartialEq, Eq)]
enum Malformed {
    /// A length, or the bytes that it announces, go beyond the end.
    CutShort,
    /// A length is no LEB128 number of 32 bits.
    NoLength,
}

impl<'b> Iterator for Sections<'b> {
    type Item = Result<(u8, &'b [u8]), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        let (kind, mut rest) = std::mem::take(&mut self.rest).split_first()?;
        Some(take(&mut rest).map(|contents| {
            self.rest = rest;
            (*kind, contents)
        }))
    }
}

/// Takes a length and that many bytes.
fn take<'b>(bytes: &mut &'b [u8]) -> Result<&'b [u8], Malformed> {
    let mut length: u64 = 0;
    for shift in (0..35).step_by(7) {
        let (byte, rest) = bytes.split_first().ok_or(Malformed::CutShort)?;
        *bytes = rest;
        length |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            let split = usize::try_from(length).ok().and_then(|length| bytes.split_at_checked(length));
            let (taken, rest) = split.ok_or(Malformed::CutShort)?;
            *bytes = rest;
            return Ok(taken);
        }
    }
    Err(Malformed::NoLength)
}

/// Whether a file ends in the middle of a section. Anything else that is wrong is for the compiler to say.
fn is_cut_short(bytes: &[u8]) -> bool {
    Sections::new(bytes).any(|section| section == Err(Malformed::CutShort))
}

/// The custom sections of that name, in their order.
pub fn custom_sections<'b>(bytes: &'b [u8], name: &str) -> impl Iterator<Item = &'b [u8]> {
    Sections::new(bytes).flatten().filter_map(move |(kind, mut contents)| {
        let found = (kind == CUSTOM).then(|| take(&mut contents).ok()).flatten()?;
        (found == name.as_bytes()).then_some(contents)
    })
}

/// The core modules that a component has within itself.
pub fn core_modules(component: &[u8]) -> impl Iterator<Item = &[u8]> {
    let sections = Sections::new(component).flatten();
    sections.filter_map(|(kind, contents)| (kind == CORE_MODULE).then_some(contents))
}

/// Adds a custom section at the end.
pub fn append_custom_section(bytes: &mut Vec<u8>, name: &str, contents: &[u8]) {
    let mut section = length(name.len());
    section.extend(name.as_bytes());
    section.extend(contents);
    bytes.push(CUSTOM);
    bytes.extend(length(section.len()));
    bytes.extend(section);
}

fn length(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = (value & 0x7f) as u8;
        value >>= 7;
        if value == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}

/// Checks that bytes look like a component, which may still be found invalid when it is compiled.
///
/// # Errors
///
/// The kind of file that they are instead, with a hint.
pub(super) fn classify(bytes: &[u8]) -> Result<(), String> {
    const WASM: &[u8] = b"\0asm";
    // The version, then the layer, each as 16 bits.
    const MODULE: &[u8] = &[1, 0, 0, 0];
    const COMPONENT: &[u8] = &[13, 0, 1, 0];
    let truncated = || Err("it is cut short: only the start of a WebAssembly file".to_owned());
    if bytes.is_empty() {
        return Err("it is empty".to_owned());
    }
    let Some(rest) = bytes.strip_prefix(WASM) else {
        if WASM.starts_with(bytes) {
            return truncated();
        }
        let text = bytes.trim_ascii_start();
        if text.starts_with(b"(component") || text.starts_with(b"(module") || text.starts_with(b";;") {
            return Err("it is WebAssembly text, and the binary form is needed: \
                        make it with `wasm-tools parse FILE.wat -o FILE.wasm`"
                .to_owned());
        }
        return Err("it is not WebAssembly".to_owned());
    };
    match rest.first_chunk::<4>().map(<[u8; 4]>::as_slice) {
        None => truncated(),
        Some(COMPONENT) if is_cut_short(bytes) => {
            Err("it is cut short: its last section is longer than the file".to_owned())
        }
        Some(COMPONENT) => Ok(()),
        Some(MODULE) => Err("it is a core module, not a component: \
                             make a component of it with `wasm-tools component new`"
            .to_owned()),
        Some(_) => {
            Err("it is a component of a version that is not known; build it with newer tools".to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wasm::testing::{component, function};
    use crate::wasm::values::Shape;

    const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

    fn found<'b>(bytes: &'b [u8], name: &str) -> Vec<&'b [u8]> {
        custom_sections(bytes, name).collect()
    }

    #[test]
    fn sections_that_were_added_are_found() {
        let mut bytes = COMPONENT.to_vec();
        let long = vec![7; 20_000];
        append_custom_section(&mut bytes, "a", b"one");
        append_custom_section(&mut bytes, "b", &long);
        append_custom_section(&mut bytes, "a", b"");
        assert_eq!(found(&bytes, "a"), [b"one".as_slice(), b""]);
        assert_eq!(found(&bytes, "b"), [long.as_slice()]);
        assert!(found(&bytes, "c").is_empty());
        // A module within a component has sections of its own.
        let mut outer = COMPONENT.to_vec();
        outer.push(CORE_MODULE);
        outer.extend(length(bytes.len()));
        outer.extend(&bytes);
        append_custom_section(&mut outer, "d", b"outer");
        assert!(found(&outer, "a").is_empty());
        assert_eq!(core_modules(&outer).collect::<Vec<_>>(), [bytes.as_slice()]);
        assert_eq!(found(&outer, "d"), [b"outer"]);
    }

    #[test]
    fn what_is_malformed_has_no_more_sections() {
        let mut whole = COMPONENT.to_vec();
        append_custom_section(&mut whole, "name", b"contents");
        for length in 0..whole.len() {
            assert!(found(&whole[..length], "name").is_empty(), "{length}");
        }
        for bytes in [&b"\0\xff\xff\xff\xff\xff\xff"[..], b"\0\xff\xff\xff\xff\x0f", b"\0\x01\x05", b"\0\0"] {
            assert!(found(&[COMPONENT, bytes].concat(), "name").is_empty(), "{bytes:?}");
        }
    }

    #[test]
    fn what_is_not_a_component_is_named() {
        let bytes = component(&[], &[function("f", [("a", Shape::U32)], None)], &[]);
        assert_eq!(classify(&bytes), Ok(()));
        for (bytes, message) in [
            (&b""[..], "it is empty"),
            (b"\x7fELF", "it is not WebAssembly"),
            (b"\0as", "it is cut short: only the start of a WebAssembly file"),
            (b"\0asm\x0d\0", "it is cut short: only the start of a WebAssembly file"),
            (
                b"\0asm\x01\0\0\0",
                "it is a core module, not a component: make a component of it with `wasm-tools component new`",
            ),
            (
                b"\0asm\x0e\0\x01\0",
                "it is a component of a version that is not known; build it with newer tools",
            ),
            (
                b"\n (component)",
                "it is WebAssembly text, and the binary form is needed: \
                 make it with `wasm-tools parse FILE.wat -o FILE.wasm`",
            ),
        ] {
            assert_eq!(classify(bytes), Err(message.to_owned()));
        }
        for length in 0..bytes.len() {
            // Cut between two sections it is a shorter component.
            if let Err(message) = classify(&bytes[..length]) {
                assert!(
                    message.starts_with("it is ") && (length == 0 || message.contains("cut short")),
                    "{message}"
                );
            }
        }
    }
}
