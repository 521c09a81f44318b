//! JSON ⇄ WIT values.
//!
//! A [`Shape`] is a component's type, taken out of wasmtime once and walked many
//! times. [`charged_arguments`] and [`value_from_json`] read JSON text straight into
//! [`Val`]s of a shape, [`to_json()`] writes them; neither builds a tree between. What
//! both do is described to others by [`arguments_schema`], [`value_schema`] and
//! [`output_schema`].
//!
//! [`Val`]: wasmtime::component::Val

use wasmtime::component::Val;

mod from_json;
mod schema;
mod shape;
mod to_json;

pub(super) use from_json::{canonical_arguments, charged_arguments, charged_value, value_from_json};
pub(super) use schema::{arguments_schema, output_schema, value_schema};
pub(super) use shape::{Case, Field, Shape, same_shape};
pub(super) use to_json::{WriteError, charged_bytes_to_json, to_charged_json, to_json};

/// The bytes of values that hang on others.
pub(super) fn bytes_of<'v>(values: impl IntoIterator<Item = &'v Val>) -> u64 {
    values.into_iter().map(|value| (size_of::<Val>() as u64).saturating_add(hung(value))).sum()
}

fn hung(value: &Val) -> u64 {
    let name = |name: &str| (size_of::<String>() + name.len()) as u64;
    let inner = |value: &Option<Box<Val>>| bytes_of(value.as_deref());
    match value {
        Val::String(text) | Val::Enum(text) => text.len() as u64,
        Val::List(values) | Val::Tuple(values) | Val::FixedLengthList(values) => bytes_of(values),
        Val::Record(fields) => {
            bytes_of(fields.iter().map(|(_, value)| value))
                + fields.iter().map(|(key, _)| name(key)).sum::<u64>()
        }
        Val::Variant(case, value) => case.len() as u64 + inner(value),
        Val::Option(value) | Val::Result(Ok(value) | Err(value)) => inner(value),
        Val::Flags(names) => names.iter().map(|flag| name(flag)).sum(),
        // Nothing else is in a value of a task.
        _ => 0,
    }
}

/// The key of the object that holds bytes as base64.
const BASE64_KEY: &str = "$base64";

#[cfg(test)]
mod schema_tests;
#[cfg(test)]
mod tests;
