//! JSON ⇄ WIT values.
//!
//! A [`Shape`] is a component's type, taken out of wasmtime once and walked many
//! times. [`arguments_from_json`] and [`value_from_json`] read JSON text straight into
//! [`Val`]s of a shape, [`to_json()`] writes them; neither builds a tree between. What
//! both do is described to others by [`arguments_schema`], [`value_schema`] and
//! [`output_schema`].
//!
//! [`Val`]: wasmtime::component::Val

mod from_json;
mod schema;
mod shape;
mod to_json;

pub(super) use from_json::{arguments_from_json, canonical_arguments, value_from_json};
pub(super) use schema::{arguments_schema, output_schema, value_schema};
pub(super) use shape::{Case, Field, Shape, same_shape};
pub(super) use to_json::{WriteError, bytes_to_json, to_json};

/// The key of the object that holds bytes as base64.
const BASE64_KEY: &str = "$base64";

#[cfg(test)]
mod schema_tests;
#[cfg(test)]
mod tests;
