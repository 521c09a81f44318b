//! Reading of values from JSON text.
//!
//! One pass, driven by the shape: a serde seed that accepts exactly the JSON of its type, and either builds
//! the value or writes its canonical text. serde's errors carry no path, so the real error is kept in
//! [`Context`] and gathers its path on the way out.

mod arguments;

use std::cell::{Cell, RefCell};
use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::general_purpose::STANDARD as BASE64_PADDED;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use wasmtime::component::Val;

pub(in crate::wasm) use self::arguments::{canonical_arguments, charged_arguments};
use super::to_json::to_json;
use super::{BASE64_KEY, Field, Shape};
use crate::model::clip;
use crate::wasm::host_memory::{Held, HostMemory, HostMemoryExceeded};
use crate::wasm::suggest::{list, unknown};

/// Base64 with or without padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A misfit of JSON and a type, with its place and the expected type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(in crate::wasm) struct ValueError {
    message: String,
    /// Whether it fits its type, and is too large.
    pub(in crate::wasm) is_too_large: bool,
    /// That the account did not bear it.
    pub(in crate::wasm) unpaid: Option<HostMemoryExceeded>,
}

impl ValueError {
    fn misfit(message: String) -> Self {
        Self { message, is_too_large: false, unpaid: None }
    }
}

/// The most bytes of the host's memory that the values of one text may take. A byte of a list is two bytes of
/// JSON, and twenty times as many here.
const VALUES_BYTES: usize = 1 << 30;

/// Reads one value of type `shape`. Paths in errors start with `root`.
///
/// # Errors
///
/// ``root[3].x: expected f64, found string``.
pub(in crate::wasm) fn value_from_json(text: &str, shape: &Shape, root: &str) -> Result<Val, ValueError> {
    Ok(read_value(Context::new(VALUES_BYTES, None), text, shape, root)?.0)
}

/// Does the same, and charges the value's bytes to an account.
///
/// # Errors
///
/// As [`value_from_json`].
pub(in crate::wasm) fn charged_value(
    text: &str,
    shape: &Shape,
    root: &str,
    account: &Arc<HostMemory>,
) -> Result<(Val, Held), ValueError> {
    let (value, context) = read_value(Context::new(VALUES_BYTES, Some(account)), text, shape, root)?;
    Ok((value, context.into_held(account)))
}

fn read_value(context: Context, text: &str, shape: &Shape, root: &str) -> Result<(Val, Context), ValueError> {
    let scratch = context.scratch(text)?;
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let seed = Seed { shape, context: &context, writes: false };
    let result = context.enter(seed.deserialize(&mut deserializer), || root.to_owned());
    drop(scratch);
    match result.and_then(|value| deserializer.end().map(|()| value)) {
        Ok(value) => Ok((value, context)),
        Err(error) => Err(context.into_error(&error, root)),
    }
}

/// The size of a value, without the memory that it points to.
const VALUE_BYTES: usize = size_of::<Val>();

/// The size of the name of a record's value, without its letters.
const NAME_BYTES: usize = size_of::<String>();

/// Bytes of an element that a list has room for.
const SPARE: i64 = VALUE_BYTES as i64;

/// The most bytes of a `list<u8>` that its canonical text has as an array, for readers; more are base64.
const ARRAY_BYTES: usize = 64;

/// The state of one reading: the error, once there is one, the room that is left, and the canonical text.
struct Context {
    failure: RefCell<Option<Failure>>,
    /// Bytes that further values may take.
    left: Cell<usize>,
    account: Option<RefCell<Account>>,
    text: RefCell<String>,
}

/// The account that bears the values.
struct Account {
    held: Held,
    /// Bytes of values.
    used: u64,
    /// Bytes of elements that lists have room for and do not have yet, and of what is read from.
    spare: u64,
}

struct Failure {
    /// The steps to the place of the error, innermost first.
    path: Vec<String>,
    message: String,
    is_too_large: bool,
    unpaid: Option<HostMemoryExceeded>,
}

impl Context {
    /// Makes room for so many bytes of values.
    fn new(room: usize, account: Option<&Arc<HostMemory>>) -> Self {
        let account = account.map(|account| Account { held: Held::nothing(account), used: 0, spare: 0 });
        let account = account.map(RefCell::new);
        Self { failure: RefCell::default(), left: Cell::new(room), account, text: RefCell::default() }
    }

    /// Charges for the copy that the reader makes of a string with escapes.
    fn scratch(&self, text: &str) -> Result<Option<Held>, ValueError> {
        let Some(account) = &self.account else { return Ok(None) };
        if !text.contains('\\') {
            return Ok(None);
        }
        let held = account.borrow().held.beside(text.len() as u64);
        held.map(Some).map_err(|unpaid| ValueError {
            message: unpaid.to_string(),
            is_too_large: false,
            unpaid: Some(unpaid),
        })
    }

    /// Charges more bytes of values, and more or fewer that are held only for a moment.
    fn pay<E: Error>(&self, more: usize, spare: i64) -> Result<(), E> {
        let Some(account) = &self.account else { return Ok(()) };
        let mut account = account.borrow_mut();
        account.used = account.used.saturating_add(more as u64);
        account.spare = account.spare.saturating_add_signed(spare);
        let all = account.used.saturating_add(account.spare);
        account.held.cover(all).map_err(|unpaid| {
            let message = unpaid.to_string();
            self.keep(Failure { path: Vec::new(), message, is_too_large: false, unpaid: Some(unpaid) })
        })
    }

    /// Takes what is held for the values that were read.
    fn into_held(self, account: &Arc<HostMemory>) -> Held {
        let Some(read) = self.account.map(RefCell::into_inner) else { return Held::nothing(account) };
        let mut held = read.held;
        // It was charged in steps; less is always possible.
        let _ = held.resize(read.used);
        held
    }

    /// Takes room for a part of a value.
    fn charge<E: Error>(&self, bytes: usize) -> Result<(), E> {
        match self.left.get().checked_sub(bytes) {
            Some(left) => {
                self.left.set(left);
                self.pay(bytes, 0)
            }
            None => {
                let message = format!(
                    "too large: the values take more than {VALUES_BYTES} bytes, where each element of a list \
                     takes {VALUE_BYTES} or more"
                );
                Err(self.keep(Failure { path: Vec::new(), message, is_too_large: true, unpaid: None }))
            }
        }
    }

    fn write(&self, text: &str) {
        self.text.borrow_mut().push_str(text);
    }

    /// Writes a value without parts.
    fn write_value<E: Error>(&self, value: &Val) -> Result<(), E> {
        let mut text = self.text.borrow_mut();
        to_json(value, &mut text, usize::MAX).map_err(|error| self.fail(error.to_string()))
    }

    /// Writes the bytes of a `list<u8>`.
    fn write_bytes<E: Error>(&self, bytes: &[u8]) -> Result<(), E> {
        if bytes.len() <= ARRAY_BYTES {
            return self.write_value(&Val::List(bytes.iter().copied().map(Val::U8).collect()));
        }
        self.write(&format!("{{\"{BASE64_KEY}\":\""));
        BASE64_PADDED.encode_string(bytes, &mut self.text.borrow_mut());
        self.write("\"}");
        Ok(())
    }

    /// Writes the end of an array whose elements were written with a comma after each.
    fn close_array(&self) {
        let mut text = self.text.borrow_mut();
        if text.ends_with(',') {
            text.pop();
        }
        text.push(']');
    }

    /// Keeps the message of a misfit, and makes the error that serde wants.
    fn fail<E: Error>(&self, message: impl Into<String>) -> E {
        let message = message.into();
        self.keep(Failure { path: Vec::new(), message, is_too_large: false, unpaid: None })
    }

    fn keep<E: Error>(&self, failure: Failure) -> E {
        *self.failure.borrow_mut() = Some(failure);
        E::custom("the value does not fit its type")
    }

    /// Adds a step to the path of an error that comes from within.
    fn enter<T, E>(&self, result: Result<T, E>, step: impl FnOnce() -> String) -> Result<T, E> {
        if result.is_err()
            && let Some(failure) = self.failure.borrow_mut().as_mut()
        {
            failure.path.push(step());
        }
        result
    }

    /// Makes the error of the whole reading. `what` names the text, if it is not JSON.
    fn into_error(self, error: &serde_json::Error, what: &str) -> ValueError {
        let Some(Failure { mut path, message, is_too_large, unpaid }) = self.failure.into_inner() else {
            return ValueError::misfit(format!("{what}: not valid JSON: {error}"));
        };
        path.reverse();
        let message = if path.is_empty() { message } else { format!("{}: {message}", path.concat()) };
        ValueError { message, is_too_large, unpaid }
    }
}

/// Whether a key of an object names `name`: kebab-case as in WIT, or snake_case.
fn same_name(key: &str, name: &str) -> bool {
    key.len() == name.len() && key.bytes().zip(name.bytes()).all(|(a, b)| a == b || (a == b'_' && b == b'-'))
}

/// Names the kind of a JSON value by its text, which is valid.
fn kind_of(json: &str) -> &'static str {
    match json.as_bytes().first() {
        Some(b'"') => "string",
        Some(b'n') => "null",
        Some(b't' | b'f') => "boolean",
        Some(b'[') => "array",
        Some(b'{') => "object",
        _ => "number",
    }
}

/// The largest integer that no other one shares its float with.
const EXACT: f64 = 9_007_199_254_740_991.0;

/// Reads one value of a shape.
#[derive(Clone, Copy)]
struct Seed<'a> {
    shape: &'a Shape,
    context: &'a Context,
    /// Whether it writes the canonical text of the value. The returned value is of no use then: 20 MB of bytes
    /// would otherwise take half a gigabyte, a [`Val`] for each.
    writes: bool,
}

impl<'a> Seed<'a> {
    fn with(self, shape: &'a Shape) -> Self {
        Self { shape, ..self }
    }

    fn mismatch<E: Error>(&self, found: impl fmt::Display) -> E {
        let hint = match self.shape {
            Shape::Option(inner) if inner.is_option() => " (null or `{\"some\": …}`)",
            Shape::Result { .. } => " (`{\"ok\": …}` or `{\"err\": …}`)",
            _ => "",
        };
        self.context.fail(format!("expected {}{hint}, found {found}", self.shape.name()))
    }
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Val;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Val, D::Error> {
        self.context.charge(VALUE_BYTES)?;
        if self.writes && !self.shape.has_parts() {
            let value = Self { writes: false, ..self }.read(deserializer)?;
            self.context.write_value(&value)?;
            return Ok(WRITTEN);
        }
        self.read(deserializer)
    }
}

/// The value that is returned for one that was written.
const WRITTEN: Val = Val::Bool(false);

impl Seed<'_> {
    fn read<'de, D: Deserializer<'de>>(self, deserializer: D) -> Result<Val, D::Error> {
        match self.shape {
            Shape::Option(_) => deserializer.deserialize_option(OptionVisitor(self)),
            // serde_json reads f32 by way of f64, and floats exactly only with a feature. The standard
            // library is exact for both, so it gets the text.
            Shape::F32 | Shape::F64 => {
                self.float(<&RawValue as serde::Deserialize>::deserialize(deserializer)?.get())
            }
            _ => deserializer.deserialize_any(self),
        }
    }
}

struct OptionVisitor<'a>(Seed<'a>);

impl<'de> Visitor<'de> for OptionVisitor<'_> {
    type Value = Val;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.shape.name())
    }

    fn visit_none<E: Error>(self) -> Result<Val, E> {
        self.visit_unit()
    }

    fn visit_unit<E: Error>(self) -> Result<Val, E> {
        self.0.put("null");
        Ok(Val::Option(None))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Val, D::Error> {
        match self.0.shape {
            Shape::Option(inner) if !inner.is_option() => {
                let value = self.0.with(inner).deserialize(deserializer)?;
                Ok(Val::Option(Some(Box::new(value))))
            }
            // Needs `{"some": …}`, which `visit_map` knows.
            _ => deserializer.deserialize_any(self.0),
        }
    }
}

/// Gives the key of a member to a function, without a copy.
struct Key<F>(F);

impl<'de, T, F: FnOnce(&str) -> T> DeserializeSeed<'de> for Key<F> {
    type Value = T;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<T, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<T, F: FnOnce(&str) -> T> Visitor<'_> for Key<F> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<T, E> {
        Ok((self.0)(key))
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Val;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shape.name())
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Val, E> {
        match self.shape {
            Shape::Bool => Ok(Val::Bool(value)),
            _ => Err(self.mismatch("boolean")),
        }
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Val, E> {
        self.integer(value)
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Val, E> {
        self.integer(value)
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Val, E> {
        // A number without a fraction is an integer, however it is written: `1.0`, `1e3`, `-0`. Beyond 2⁵³ its
        // last digits may be lost already.
        if value.fract() == 0.0 && value.abs() <= EXACT {
            #[expect(clippy::cast_possible_truncation, reason = "it is an integer of 53 bits")]
            return self.integer(value as i64);
        }
        if self.shape.is_integer() {
            Err(self.mismatch(format_args!("{value:?}")))
        } else {
            Err(self.mismatch("number"))
        }
    }

    fn visit_unit<E: Error>(self) -> Result<Val, E> {
        Err(self.mismatch("null"))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Val, E> {
        match self.shape {
            Shape::String => {
                self.context.charge(value.len())?;
                Ok(Val::String(value.to_owned()))
            }
            Shape::Char => {
                let mut chars = value.chars();
                match (chars.next(), chars.next()) {
                    (Some(char), None) => Ok(Val::Char(char)),
                    (None, _) => Err(self.mismatch("an empty string")),
                    _ => Err(self.mismatch(format_args!("a string of {} characters", value.chars().count()))),
                }
            }
            Shape::Enum(names) => match names.iter().find(|name| same_name(value, name)) {
                Some(name) => {
                    self.context.charge(name.len())?;
                    Ok(Val::Enum((**name).to_owned()))
                }
                None => Err(self.context.fail(unknown("case", value, names.iter().map(|name| &**name)))),
            },
            Shape::Variant(cases) => match cases.iter().find(|case| same_name(value, &case.name)) {
                Some(case) => match &case.payload {
                    None => self.case_without_payload(&case.name),
                    Some(payload) => Err(self.context.fail(format!(
                        "case `{name}` carries {}: write `{{\"{name}\": …}}`",
                        payload.name(),
                        name = case.name,
                    ))),
                },
                None => Err(self.context.fail(unknown("case", value, cases.iter().map(|case| &*case.name)))),
            },
            _ => Err(self.mismatch("string")),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Val, A::Error> {
        match self.shape {
            Shape::List(element) if self.writes && **element == Shape::U8 => {
                let byte = Self { writes: false, ..self };
                let mut bytes = Vec::new();
                while let Some(Val::U8(value)) = byte.element(&mut seq, element, bytes.len())? {
                    bytes.push(value);
                }
                self.context.write_bytes(&bytes)?;
                Ok(WRITTEN)
            }
            Shape::List(element) => {
                let mut values = Vec::new();
                let mut index = 0;
                self.put("[");
                while let Some(value) = self.element(&mut seq, element, index)? {
                    self.put(",");
                    if !self.writes {
                        self.make_room(&mut values)?;
                        values.push(value);
                        self.context.pay(0, -SPARE)?;
                    }
                    index += 1;
                }
                self.close_array();
                let spare = values.capacity() - values.len();
                values.shrink_to_fit();
                self.context.pay(0, -SPARE * spare as i64)?;
                Ok(Val::List(values))
            }
            Shape::Tuple(shapes) => {
                let mut values = Vec::with_capacity(shapes.len());
                self.put("[");
                for (index, shape) in shapes.iter().enumerate() {
                    let value = self.element(&mut seq, shape, index)?;
                    values.push(value.ok_or_else(|| self.mismatch(format_args!("an array of {index}")))?);
                    self.put(",");
                }
                self.close_array();
                match count_rest(&mut seq)? {
                    0 => Ok(Val::Tuple(values)),
                    more => Err(self.mismatch(format_args!("an array of {}", shapes.len() + more))),
                }
            }
            Shape::Flags(names) => {
                let string = self.with(&Shape::String);
                let mut set = vec![false; names.len()];
                let mut index = 0;
                while let Some(Val::String(given)) = string.element(&mut seq, string.shape, index)? {
                    let error = match names.iter().position(|name| same_name(&given, name)) {
                        Some(flag) if !set[flag] => {
                            set[flag] = true;
                            index += 1;
                            continue;
                        }
                        Some(_) => format!("flag `{}` is given twice", clip(&given, 80)),
                        None => unknown("flag", &given, names.iter().map(|name| &**name)),
                    };
                    return self.context.enter(Err(self.context.fail(error)), || format!("[{index}]"));
                }
                let names = names.iter().zip(set).filter(|(_, set)| *set).map(|(name, _)| name);
                self.context.charge(names.clone().map(|name| NAME_BYTES + name.len()).sum())?;
                let names = names.map(|name| (**name).to_owned());
                Ok(Val::Flags(names.collect()))
            }
            _ => Err(self.mismatch("array")),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Val, A::Error> {
        match self.shape {
            Shape::Record(fields) => {
                let values = read_members(&mut map, fields, self.context, self.writes, "field", |name| {
                    format!(".{name}")
                })?;
                // Each value of a record has its name with it.
                self.context.charge(fields.iter().map(|field| NAME_BYTES + field.name.len()).sum())?;
                if self.writes {
                    for (index, (field, text)) in fields.iter().zip(values).enumerate() {
                        self.put(if index == 0 { "{\"" } else { ",\"" });
                        self.put(&field.name);
                        self.put("\":");
                        self.put_text(&text);
                    }
                    self.put(if fields.is_empty() { "{}" } else { "}" });
                    return Ok(WRITTEN);
                }
                let values = fields.iter().zip(values);
                Ok(Val::Record(values.map(|(field, value)| ((*field.name).to_owned(), value)).collect()))
            }
            Shape::Variant(cases) => {
                let names = || cases.iter().map(|case| &*case.name);
                let index = self.only_key(&mut map, "case", names())?;
                let case = &cases[index];
                if case.payload.is_none() {
                    self.no_payload(&mut map, &case.name)?;
                    return self.case_without_payload(&case.name);
                }
                let payload = self.payload(&mut map, case.payload.as_ref(), &case.name)?;
                self.context.charge(case.name.len())?;
                Ok(Val::Variant((*case.name).to_owned(), payload))
            }
            Shape::Result { ok, err } => {
                let is_ok = self.only_key(&mut map, "case", ["ok", "err"])? == 0;
                let (name, shape) = if is_ok { ("ok", ok) } else { ("err", err) };
                let payload = self.payload(&mut map, shape.as_deref(), name)?;
                Ok(Val::Result(if is_ok { Ok(payload) } else { Err(payload) }))
            }
            Shape::Option(inner) if inner.is_option() => {
                self.only_key(&mut map, "case", ["some"])?;
                Ok(Val::Option(self.payload(&mut map, Some(inner), "some")?))
            }
            Shape::List(element) if **element == Shape::U8 => {
                self.only_key(&mut map, "key", [BASE64_KEY])?;
                let reads = Self { writes: false, ..self };
                let text = reads.payload(&mut map, Some(&Shape::String), BASE64_KEY)?;
                let Some(Val::String(text)) = text.as_deref() else {
                    return Err(self.mismatch("something else"));
                };
                // The decoded bytes are shorter than the text.
                let decoded = text.len() as i64;
                self.context.pay(0, decoded)?;
                let bytes = BASE64
                    .decode(text)
                    .map_err(|error| self.context.fail(format!("expected base64: {error}")));
                let bytes = self.context.enter(bytes, || format!(".{BASE64_KEY}"))?;
                self.context.charge(bytes.len().saturating_mul(VALUE_BYTES))?;
                if self.writes {
                    self.context.write_bytes(&bytes)?;
                    return Ok(WRITTEN);
                }
                let values = bytes.iter().copied().map(Val::U8).collect();
                drop(bytes);
                self.context.pay(0, -decoded)?;
                Ok(Val::List(values))
            }
            _ => Err(self.mismatch("object")),
        }
    }
}

impl Seed<'_> {
    /// Reads the next element of an array, if there is one more.
    fn element<'de, A: SeqAccess<'de>>(
        &self,
        seq: &mut A,
        shape: &Shape,
        index: usize,
    ) -> Result<Option<Val>, A::Error> {
        let seed = Seed { shape, context: self.context, writes: self.writes };
        self.context.enter(seq.next_element_seed(seed), || format!("[{index}]"))
    }

    /// Makes room for one more element, which is charged before it is there.
    fn make_room<E: Error>(&self, values: &mut Vec<Val>) -> Result<(), E> {
        if values.len() < values.capacity() {
            return Ok(());
        }
        let more = (values.len() / 2).max(4);
        self.context.pay(0, SPARE * more as i64)?;
        values.reserve_exact(more);
        Ok(())
    }

    /// Writes a part of the canonical text, if it is wanted.
    fn put(&self, text: &str) {
        if self.writes {
            self.context.write(text);
        }
    }

    /// Writes a member that [`read_members`] read.
    fn put_text(&self, member: &Val) {
        if let Val::String(text) = member {
            self.put(text);
        }
    }

    fn close_array(&self) {
        if self.writes {
            self.context.close_array();
        }
    }

    fn case_without_payload<E: Error>(&self, name: &str) -> Result<Val, E> {
        self.context.charge(name.len())?;
        let value = Val::Variant(name.to_owned(), None);
        if self.writes {
            self.context.write_value(&value)?;
        }
        Ok(value)
    }

    fn integer<E: Error>(self, value: impl Copy + fmt::Display + TryInto<i128>) -> Result<Val, E> {
        // Every integer that serde_json hands over fits 65 bits.
        let wide: i128 = value.try_into().unwrap_or(i128::MAX);
        macro_rules! narrow {
            ($variant:ident) => {
                wide.try_into().map(Val::$variant).map_err(|_| self.mismatch(value))
            };
        }
        match self.shape {
            Shape::U8 => narrow!(U8),
            Shape::S8 => narrow!(S8),
            Shape::U16 => narrow!(U16),
            Shape::S16 => narrow!(S16),
            Shape::U32 => narrow!(U32),
            Shape::S32 => narrow!(S32),
            Shape::U64 => narrow!(U64),
            Shape::S64 => narrow!(S64),
            _ => Err(self.mismatch("number")),
        }
    }

    /// Reads a float from the text of a JSON value.
    fn float<E: Error>(self, raw: &str) -> Result<Val, E> {
        let kind = kind_of(raw);
        if kind == "number" {
            let value = match self.shape {
                Shape::F32 => raw.parse().ok().filter(|value: &f32| value.is_finite()).map(Val::Float32),
                _ => raw.parse().ok().filter(|value: &f64| value.is_finite()).map(Val::Float64),
            };
            return value.ok_or_else(|| self.mismatch(clip(raw, 40)));
        }
        let value = match raw {
            "\"NaN\"" => f64::NAN,
            "\"Infinity\"" => f64::INFINITY,
            "\"-Infinity\"" => f64::NEG_INFINITY,
            _ => return Err(self.mismatch(kind)),
        };
        // Infinities and NaN are the same in both widths.
        #[expect(clippy::cast_possible_truncation, reason = "not a finite number")]
        Ok(if *self.shape == Shape::F32 { Val::Float32(value as f32) } else { Val::Float64(value) })
    }

    /// Reads the key of an object that must have exactly one, as its index in `names`.
    fn only_key<'de, 'n, A: MapAccess<'de>>(
        &self,
        map: &mut A,
        what: &str,
        names: impl IntoIterator<Item = &'n str> + Clone,
    ) -> Result<usize, A::Error> {
        let find = |key: &str| {
            let found = names.clone().into_iter().position(|name| same_name(key, name));
            found.ok_or_else(|| key.to_owned())
        };
        match map.next_key_seed(Key(find))? {
            Some(Ok(index)) => Ok(index),
            Some(Err(key)) => Err(self.context.fail(unknown(what, &key, names))),
            None => Err(self.mismatch("an empty object")),
        }
    }

    /// Reads the payload of a case, or null if it carries nothing, as the value of an object's only key.
    fn payload<'de, A: MapAccess<'de>>(
        self,
        map: &mut A,
        shape: Option<&Shape>,
        name: &str,
    ) -> Result<Option<Box<Val>>, A::Error> {
        self.put(&format!("{{\"{name}\":"));
        let value = match shape {
            Some(shape) => {
                let seed = self.with(shape);
                let value = self.context.enter(map.next_value_seed(seed), || format!(".{name}"))?;
                self.only_member(map)?;
                Some(Box::new(value))
            }
            None => {
                self.no_payload(map, name)?;
                self.put("null");
                None
            }
        };
        self.put("}");
        Ok(value)
    }

    /// Reads the null of a case that carries nothing.
    fn no_payload<'de, A: MapAccess<'de>>(&self, map: &mut A, name: &str) -> Result<(), A::Error> {
        if map.next_value::<&RawValue>()?.get() != "null" {
            return Err(self.context.fail(format!("case `{name}` carries nothing: expected null")));
        }
        self.only_member(map)
    }

    fn only_member<'de, A: MapAccess<'de>>(&self, map: &mut A) -> Result<(), A::Error> {
        match map.next_key::<IgnoredAny>()? {
            None => Ok(()),
            Some(_) => Err(self.mismatch("an object with several keys")),
        }
    }
}

impl Shape {
    /// Whether its values have parts that are values. Those of flags are names.
    fn has_parts(&self) -> bool {
        matches!(
            self,
            Self::Option(_)
                | Self::List(_)
                | Self::Tuple(_)
                | Self::Record(_)
                | Self::Variant(_)
                | Self::Result { .. }
        )
    }

    fn is_integer(&self) -> bool {
        matches!(
            self,
            Self::U8 | Self::S8 | Self::U16 | Self::S16 | Self::U32 | Self::S32 | Self::U64 | Self::S64
        )
    }
}

fn count_rest<'de, A: SeqAccess<'de>>(seq: &mut A) -> Result<usize, A::Error> {
    let mut count = 0;
    while seq.next_element::<IgnoredAny>()?.is_some() {
        count += 1;
    }
    Ok(count)
}

/// Reads the members of an object with the given fields: a value for each field, in their order, or its
/// canonical text as a string.
fn read_members<'de, A: MapAccess<'de>>(
    map: &mut A,
    fields: &[Field],
    context: &Context,
    writes: bool,
    what: &str,
    step: impl Fn(&str) -> String,
) -> Result<Vec<Val>, A::Error> {
    let names = || fields.iter().map(|field| &*field.name);
    let mut values: Vec<Option<Val>> = fields.iter().map(|_| None).collect();
    // Members mostly come in the order of the fields.
    let mut likely = 0;
    loop {
        let find = |key: &str| {
            if fields.get(likely).is_some_and(|field| same_name(key, &field.name)) {
                return Ok(likely);
            }
            fields.iter().position(|field| same_name(key, &field.name)).ok_or_else(|| key.to_owned())
        };
        let index = match map.next_key_seed(Key(find))? {
            None => break,
            Some(Ok(index)) => index,
            Some(Err(key)) => return Err(context.fail(unknown(what, &key, names()))),
        };
        let field = &fields[index];
        if values[index].is_some() {
            return Err(context.fail(format!("{what} `{}` is given twice", field.name)));
        }
        let seed = Seed { shape: &field.shape, context, writes };
        let start = context.text.borrow().len();
        let value = context.enter(map.next_value_seed(seed), || step(&field.name))?;
        // They may come in any order.
        let text = || Val::String(context.text.borrow_mut().split_off(start));
        values[index] = Some(if writes { text() } else { value });
        likely = index + 1;
    }
    let mut complete = Vec::with_capacity(fields.len());
    for (field, value) in fields.iter().zip(values) {
        match value {
            Some(value) => complete.push(value),
            None if field.shape.is_option() && writes => complete.push(Val::String("null".to_owned())),
            None if field.shape.is_option() => {
                context.charge(VALUE_BYTES)?;
                complete.push(Val::Option(None));
            }
            None => {
                let message = format!("missing {what} `{}` ({})", field.name, field.shape.name());
                return Err(context.fail(format!("{message}; the {what}s are {}", list(names()))));
            }
        }
    }
    Ok(complete)
}
