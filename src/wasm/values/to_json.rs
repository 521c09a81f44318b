//! Writing of values as JSON text.

use std::fmt::Write;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use wasmtime::component::Val;

use super::BASE64_KEY;
use crate::wasm::host_memory::{Held, HostMemoryExceeded};

/// A value that could not be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(in crate::wasm) enum WriteError {
    /// Its JSON is longer than allowed.
    #[error("the value is larger than {max_bytes} bytes as JSON")]
    TooLarge {
        /// The most bytes that were allowed.
        max_bytes: usize,
    },
    /// It holds a resource, a stream or the like, which [`Shape::within`] refuses.
    ///
    /// [`Shape::within`]: super::Shape::within
    #[error("the value holds something that can't travel as JSON")]
    Unsupported,
    /// The account does not bear its text.
    #[error(transparent)]
    Unpaid(#[from] HostMemoryExceeded),
}

/// Appends a value to `out` as JSON of at most `max_bytes`, and stops soon after going over.
///
/// # Errors
///
/// [`WriteError`]; what `out` holds then is of no use.
pub(in crate::wasm) fn to_json(val: &Val, out: &mut String, max_bytes: usize) -> Result<(), WriteError> {
    write(val, out, max_bytes, None)
}

/// Does the same, with an account that bears the whole of `out`.
///
/// # Errors
///
/// As [`to_json`].
pub(in crate::wasm) fn to_charged_json(
    val: &Val,
    out: &mut String,
    max_bytes: usize,
    held: &mut Held,
) -> Result<(), WriteError> {
    write(val, out, max_bytes, Some(held))
}

fn write(val: &Val, out: &mut String, max_bytes: usize, held: Option<&mut Held>) -> Result<(), WriteError> {
    let mut writer = Writer { limit: out.len().saturating_add(max_bytes), max_bytes, out, held };
    writer.value(val)?;
    writer.check(0)
}

/// More than what a value takes that is neither text nor made of others, and the marks around any other.
const SMALL_BYTES: usize = 64;

/// Writes bytes as JSON: text as a string, anything else as `{"$base64": …}`. An account bears the text.
///
/// # Errors
///
/// The account has no room for it.
pub(in crate::wasm) fn charged_bytes_to_json(
    bytes: Vec<u8>,
    held: &mut Held,
) -> Result<String, HostMemoryExceeded> {
    let mut json = String::new();
    let written = match String::from_utf8(bytes) {
        Ok(text) => to_charged_json(&Val::String(text), &mut json, usize::MAX, held),
        Err(error) => {
            let bytes = error.as_bytes();
            let room = bytes.len().div_ceil(3) * 4 + SMALL_BYTES;
            held.resize(room as u64)?;
            json.reserve_exact(room);
            json.push_str(&format!("{{\"{BASE64_KEY}\":\""));
            STANDARD.encode_string(bytes, &mut json);
            json.push_str("\"}");
            Ok(())
        }
    };
    match written {
        Err(WriteError::Unpaid(exceeded)) => Err(exceeded),
        // Nothing else can be wrong with a text.
        _ => Ok(json),
    }
}

struct Writer<'a> {
    out: &'a mut String,
    /// The length that `out` may reach.
    limit: usize,
    max_bytes: usize,
    held: Option<&'a mut Held>,
}

impl Writer<'_> {
    /// Charges for `more` bytes of text before there is room for them.
    fn pay(&mut self, more: usize) -> Result<(), WriteError> {
        let Some(held) = &mut self.held else { return Ok(()) };
        let wanted = self.out.len().saturating_add(more);
        if wanted > self.out.capacity() {
            // It doubles, so that it seldom moves, as long as that is borne.
            let most = wanted.max(self.out.capacity().saturating_mul(2));
            let room = if held.resize(most as u64).is_ok() { most } else { wanted };
            held.resize(room as u64)?;
            self.out.reserve_exact(room - self.out.len());
        }
        Ok(())
    }

    /// Checks that `more` bytes still fit.
    fn check(&self, more: usize) -> Result<(), WriteError> {
        if self.out.len().saturating_add(more) > self.limit {
            return Err(WriteError::TooLarge { max_bytes: self.max_bytes });
        }
        Ok(())
    }

    fn value(&mut self, val: &Val) -> Result<(), WriteError> {
        self.pay(SMALL_BYTES)?;
        match val {
            Val::Bool(value) => self.out.push_str(if *value { "true" } else { "false" }),
            Val::U8(value) => self.integer(*value),
            Val::S8(value) => self.integer(*value),
            Val::S16(value) => self.integer(*value),
            Val::U16(value) => self.integer(*value),
            Val::S32(value) => self.integer(*value),
            Val::U32(value) => self.integer(*value),
            Val::S64(value) => self.integer(*value),
            Val::U64(value) => self.integer(*value),
            // `Debug` of a float is the shortest text that reads back as the same float of the same width,
            // with a sign on zero; it is JSON.
            Val::Float32(value) if value.is_finite() => _ = write!(self.out, "{value:?}"),
            Val::Float64(value) if value.is_finite() => _ = write!(self.out, "{value:?}"),
            Val::Float32(value) => self.not_finite(f64::from(*value)),
            Val::Float64(value) => self.not_finite(*value),
            Val::Char(value) => self.string(value.encode_utf8(&mut [0; 4]))?,
            Val::String(value) | Val::Enum(value) | Val::Variant(value, None) => self.string(value)?,
            Val::List(values) | Val::Tuple(values) | Val::FixedLengthList(values) => self.array(values)?,
            Val::Record(fields) => {
                self.out.push('{');
                self.list(fields, |writer, (name, value)| writer.member(name, Some(value)))?;
                self.out.push('}');
            }
            Val::Variant(name, Some(payload)) => self.object(name, Some(payload))?,
            Val::Option(None) => self.out.push_str("null"),
            // An option directly inside an option: `null` alone would be ambiguous.
            Val::Option(Some(value)) if matches!(**value, Val::Option(_)) => {
                self.object("some", Some(value))?
            }
            Val::Option(Some(value)) => self.value(value)?,
            Val::Result(Ok(value)) => self.object("ok", value.as_deref())?,
            Val::Result(Err(value)) => self.object("err", value.as_deref())?,
            Val::Flags(names) => {
                self.out.push('[');
                self.list(names, |writer, name| writer.string(name))?;
                self.out.push(']');
            }
            Val::Map(_) | Val::Resource(_) | Val::Future(_) | Val::Stream(_) | Val::ErrorContext(_) => {
                return Err(WriteError::Unsupported);
            }
        }
        Ok(())
    }

    fn integer(&mut self, value: impl itoa::Integer) {
        self.out.push_str(itoa::Buffer::new().format(value));
    }

    /// Writes items with commas between them.
    fn list<T>(
        &mut self,
        items: &[T],
        write: impl Fn(&mut Self, &T) -> Result<(), WriteError>,
    ) -> Result<(), WriteError> {
        for (index, item) in items.iter().enumerate() {
            if index > 0 {
                self.out.push(',');
            }
            write(self, item)?;
        }
        Ok(())
    }

    fn not_finite(&mut self, value: f64) {
        self.out.push_str(match value {
            f64::INFINITY => "\"Infinity\"",
            f64::NEG_INFINITY => "\"-Infinity\"",
            _ => "\"NaN\"",
        });
    }

    fn array(&mut self, values: &[Val]) -> Result<(), WriteError> {
        // Each element takes a byte and a comma at least.
        self.check(values.len().saturating_mul(2))?;
        self.out.push('[');
        self.list(values, |writer, value| {
            writer.value(value)?;
            writer.check(0)
        })?;
        self.out.push(']');
        Ok(())
    }

    /// An object with one member.
    fn object(&mut self, name: &str, value: Option<&Val>) -> Result<(), WriteError> {
        self.out.push('{');
        self.member(name, value)?;
        self.out.push('}');
        Ok(())
    }

    fn member(&mut self, name: &str, value: Option<&Val>) -> Result<(), WriteError> {
        self.string(name)?;
        self.out.push(':');
        match value {
            Some(value) => self.value(value),
            None => {
                self.out.push_str("null");
                Ok(())
            }
        }
    }

    fn string(&mut self, text: &str) -> Result<(), WriteError> {
        self.check(text.len().saturating_add(2))?;
        // An escape is six bytes at most.
        let escaped = text.bytes().filter(|byte| *byte < 0x20 || matches!(byte, b'"' | b'\\')).count();
        self.pay(text.len().saturating_add(5 * escaped).saturating_add(SMALL_BYTES))?;
        self.out.push('"');
        let mut done = 0;
        // Everything that must be escaped is one byte of ASCII, so each index is a character boundary.
        for (index, byte) in text.bytes().enumerate() {
            if byte >= 0x20 && byte != b'"' && byte != b'\\' {
                continue;
            }
            self.out.push_str(&text[done..index]);
            done = index + 1;
            match byte {
                b'"' => self.out.push_str("\\\""),
                b'\\' => self.out.push_str("\\\\"),
                b'\n' => self.out.push_str("\\n"),
                b'\r' => self.out.push_str("\\r"),
                b'\t' => self.out.push_str("\\t"),
                _ => _ = write!(self.out, "\\u{byte:04x}"),
            }
            self.check(0)?;
        }
        self.out.push_str(&text[done..]);
        self.out.push('"');
        Ok(())
    }
}
