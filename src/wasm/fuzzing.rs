//! The entry points of the fuzz targets: they take any bytes, and panic if a property does not hold.

use std::sync::OnceLock;

use wasmtime::Engine;
use wasmtime::component::Val;

use crate::model::{ComponentDigest, Interrupt};

use super::cache::Cache;
use super::compile::Compiler;
use super::engine::compiling_engine;
use super::loaded::{load_bytes, names_of};
use super::sealed::{seal, unseal};
use super::values::{Case, Field, Shape, to_json, value_from_json};

/// Larger components only take longer.
const MAX_COMPONENT: usize = 16 << 10;
/// Parts of a generated type, and of a generated value.
const MAX_PARTS: usize = 64;
/// The depth of generated types.
const MAX_DEPTH: usize = 6;

/// Checks that a value of a generated type becomes JSON and the same value again, and that the rest of the
/// bytes, if it is JSON of that type, has one JSON form.
pub fn values(data: &[u8]) {
    let mut bytes = Bytes { rest: data, parts: MAX_PARTS };
    let shape = bytes.shape(0);
    bytes.parts = MAX_PARTS;
    let value = bytes.value(&shape);
    let json = json_of(&value);
    let again = value_from_json(&json, &shape, "value")
        .unwrap_or_else(|error| panic!("{json} of {shape} is not read back: {error}"));
    assert_eq!(json_of(&again), json, "{shape}");
    if let Ok(text) = std::str::from_utf8(bytes.rest)
        && let Ok(read) = value_from_json(text, &shape, "value")
    {
        let json = json_of(&read);
        let again = value_from_json(&json, &shape, "value")
            .unwrap_or_else(|error| panic!("{json} of {shape}, once {text:?}, is not read back: {error}"));
        assert_eq!(json_of(&again), json, "{shape}");
    }
}

fn json_of(value: &Val) -> String {
    let mut json = String::new();
    to_json(value, &mut json, 1 << 20).unwrap_or_else(|error| panic!("{value:?} has no JSON: {error}"));
    serde_json::from_str::<serde::de::IgnoredAny>(&json)
        .unwrap_or_else(|error| panic!("{json:?} is not JSON: {error}"));
    json
}

/// Checks that a component is compiled and its tasks are listed, or that it is refused with a reason.
pub fn component(data: &[u8]) {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    if data.len() > MAX_COMPONENT {
        return;
    }
    let engine = ENGINE.get_or_init(|| compiling_engine(false).expect("an engine can be made"));
    // Within this process: a child of it would not be looked into.
    let (cache, never) = (Cache::new(None, Compiler::InProcess), Interrupt::default());
    let path = std::path::Path::new("fuzzed.wasm");
    match load_bytes(engine, false, "fuzzed", path, (ComponentDigest::of(data), data), &cache, &never) {
        Ok(loaded) => {
            let names = names_of([&loaded]);
            for export in loaded.exports() {
                assert_eq!(names.resolve(&export.id, None).ok(), Some(&export.id), "a task has its own name");
            }
        }
        Err(error) => assert!(!error.to_string().is_empty(), "it says why"),
    }
}

/// Checks that sealed code is read back, that any change to it is noticed, and that other bytes are refused.
/// Nothing is run.
pub fn compiled(data: &[u8]) {
    if let Ok(code) = unseal(data) {
        let mut sealed = Vec::new();
        seal(&mut sealed, code).expect("memory can be written to");
        assert!(sealed == data, "there is one way to write it");
    }
    let mut sealed = Vec::new();
    seal(&mut sealed, data).expect("memory can be written to");
    assert!(unseal(&sealed) == Ok(data), "it is read back");
    let place = data.first().map_or(0, |first| usize::from(*first) * sealed.len() / 256);
    sealed[place] ^= 1;
    assert!(unseal(&sealed).is_err(), "a change at {place} is noticed");
    sealed.truncate(place);
    assert!(unseal(&sealed).is_err(), "an end at {place} is noticed");
}

/// Bytes by which types and values are chosen.
struct Bytes<'a> {
    rest: &'a [u8],
    parts: usize,
}

impl Bytes<'_> {
    /// Zero once there is nothing left: whatever is chosen then is small.
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.rest.split_first() else { return 0 };
        self.rest = rest;
        *first
    }

    fn number(&mut self) -> u64 {
        u64::from_le_bytes(std::array::from_fn(|_| self.byte()))
    }

    fn below(&mut self, end: usize) -> usize {
        usize::from(self.byte()) % end
    }

    fn shape(&mut self, depth: usize) -> Shape {
        self.parts = self.parts.saturating_sub(1);
        let is_leaf = depth >= MAX_DEPTH || self.parts == 0;
        let names = |count: usize| (0..count).map(|n| format!("n{n}").into()).collect::<Box<[Box<str>]>>();
        match self.below(if is_leaf { 15 } else { 21 }) {
            0 => Shape::Bool,
            1 => Shape::S8,
            2 => Shape::U8,
            3 => Shape::S16,
            4 => Shape::U16,
            5 => Shape::S32,
            6 => Shape::U32,
            7 => Shape::S64,
            8 => Shape::U64,
            9 => Shape::F32,
            10 => Shape::F64,
            11 => Shape::Char,
            12 => Shape::String,
            13 => Shape::Enum(names(1 + self.below(4))),
            14 => Shape::Flags(names(1 + self.below(10))),
            15 => Shape::List(Box::new(self.shape(depth + 1))),
            16 => Shape::Option(Box::new(self.shape(depth + 1))),
            17 => {
                let count = 1 + self.below(4);
                Shape::Tuple((0..count).map(|_| self.shape(depth + 1)).collect())
            }
            18 => {
                let count = 1 + self.below(4);
                let field = |n| Field { name: format!("name-{n}").into(), shape: self.shape(depth + 1) };
                Shape::Record((0..count).map(field).collect())
            }
            19 => {
                let count = 1 + self.below(4);
                let case = |n| {
                    let payload = (self.byte() % 2 == 1).then(|| self.shape(depth + 1));
                    Case { name: format!("case-{n}").into(), payload }
                };
                Shape::Variant((0..count).map(case).collect())
            }
            _ => {
                let mut side = || (self.byte() % 2 == 1).then(|| Box::new(self.shape(depth + 1)));
                Shape::Result { ok: side(), err: side() }
            }
        }
    }

    fn text(&mut self) -> String {
        let length = self.below(16);
        let bytes: Vec<u8> = (0..length).map(|_| self.byte()).collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn value(&mut self, shape: &Shape) -> Val {
        self.parts = self.parts.saturating_sub(1);
        match shape {
            Shape::Bool => Val::Bool(self.byte() % 2 == 1),
            Shape::S8 => Val::S8(self.number() as i8),
            Shape::U8 => Val::U8(self.number() as u8),
            Shape::S16 => Val::S16(self.number() as i16),
            Shape::U16 => Val::U16(self.number() as u16),
            Shape::S32 => Val::S32(self.number() as i32),
            Shape::U32 => Val::U32(self.number() as u32),
            Shape::S64 => Val::S64(self.number() as i64),
            Shape::U64 => Val::U64(self.number()),
            Shape::F32 => Val::Float32(f32::from_bits(self.number() as u32)),
            Shape::F64 => Val::Float64(f64::from_bits(self.number())),
            Shape::Char => Val::Char(char::from_u32(self.number() as u32 % 0x11_0000).unwrap_or('\u{fffd}')),
            Shape::String => Val::String(self.text()),
            Shape::Enum(names) => Val::Enum(names[self.below(names.len())].to_string()),
            Shape::Flags(names) => {
                let bits = self.number();
                let chosen = names.iter().enumerate().filter(|(n, _)| bits >> n & 1 == 1);
                Val::Flags(chosen.map(|(_, name)| name.to_string()).collect())
            }
            Shape::List(element) => {
                let count = self.below(6).min(self.parts);
                Val::List((0..count).map(|_| self.value(element)).collect())
            }
            Shape::Option(inner) => Val::Option((self.byte() % 2 == 1).then(|| Box::new(self.value(inner)))),
            Shape::Tuple(shapes) => Val::Tuple(shapes.iter().map(|shape| self.value(shape)).collect()),
            Shape::Record(fields) => Val::Record(
                fields.iter().map(|field| (field.name.to_string(), self.value(&field.shape))).collect(),
            ),
            Shape::Variant(cases) => {
                let case = &cases[self.below(cases.len())];
                let payload = case.payload.as_ref().map(|shape| Box::new(self.value(shape)));
                Val::Variant(case.name.to_string(), payload)
            }
            Shape::Result { ok, err } => {
                let is_ok = self.byte().is_multiple_of(2);
                let side = if is_ok { ok } else { err };
                let value = side.as_ref().map(|shape| Box::new(self.value(shape)));
                Val::Result(if is_ok { Ok(value) } else { Err(value) })
            }
        }
    }
}
