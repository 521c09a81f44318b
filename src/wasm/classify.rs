//! Recognises files that are given as components and are none.

use super::sections::is_cut_short;

/// Checks that bytes look like a component, which may still be found invalid when it is compiled.
///
/// # Errors
///
/// What they are instead, with a hint.
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
