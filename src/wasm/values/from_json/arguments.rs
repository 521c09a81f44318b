//! Reading of a function's arguments from JSON text.

use std::cell::Cell;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use wasmtime::component::Val;

use super::{Context, Field, Seed, VALUES_BYTES, ValueError, count_rest, kind_of, read_members, same_name};

/// Reads the arguments of a function: a JSON array by position or an object by
/// parameter name, in which an `option` parameter may be left out (in the array:
/// at its end).
///
/// # Errors
///
/// ``points[3].x: expected f64, found string``, or what is unknown, missing, given
/// twice or too much, with a list of what is known.
pub(in crate::wasm) fn arguments_from_json(text: &str, parameters: &[Field]) -> Result<Vec<Val>, ValueError> {
    Ok(read_arguments(text, parameters, true)?.values)
}

/// Checks arguments as [`arguments_from_json`] does, and returns them as the text of a
/// JSON array with one element for each parameter.
///
/// # Errors
///
/// As [`arguments_from_json`].
pub(in crate::wasm) fn normalise_arguments(text: &str, parameters: &[Field]) -> Result<Arc<str>, ValueError> {
    let read = read_arguments(text, parameters, false)?;
    let text = text.trim_ascii();
    if let Some(elements) = read.elements {
        if elements == parameters.len() {
            // By far the most common case: it is right as it is.
            return Ok(text.into());
        }
        // Only options can be missing, at the end.
        let open = text.strip_suffix(']').unwrap_or(text).trim_ascii_end();
        let mut padded = String::with_capacity(text.len() + ",null".len() * (parameters.len() - elements));
        padded.push_str(open);
        for index in elements..parameters.len() {
            padded.push_str(if index == 0 { "null" } else { ",null" });
        }
        padded.push(']');
        return Ok(padded.into());
    }
    let members: HashMap<String, &RawValue> = serde_json::from_str(text)
        .map_err(|error| ValueError::misfit(format!("the arguments are not JSON: {error}")))?;
    let mut array = String::with_capacity(text.len());
    for (index, parameter) in parameters.iter().enumerate() {
        array.push(if index == 0 { '[' } else { ',' });
        let value = members.iter().find(|(key, _)| same_name(key, &parameter.name));
        array.push_str(value.map_or("null", |(_, raw)| raw.get()));
    }
    array.push_str(if parameters.is_empty() { "[]" } else { "]" });
    Ok(array.into())
}

/// Arguments as they were read.
struct ReadArguments {
    /// One for each parameter.
    values: Vec<Val>,
    /// The number of elements of the array; `None` if it was an object.
    elements: Option<usize>,
}

fn read_arguments(text: &str, parameters: &[Field], build: bool) -> Result<ReadArguments, ValueError> {
    read_arguments_within(VALUES_BYTES, text, parameters, build)
}

/// Reads arguments, with room for `room` bytes of values.
fn read_arguments_within(
    room: usize,
    text: &str,
    parameters: &[Field],
    build: bool,
) -> Result<ReadArguments, ValueError> {
    let context = Context { left: Cell::new(room), ..Context::default() };
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let arguments = Arguments { parameters, context: &context, build };
    let result = (&mut deserializer).deserialize_any(arguments);
    let result = result.and_then(|values| deserializer.end().map(|()| values));
    result.map_err(|error| {
        // JSON that is neither an array nor an object.
        if error.is_data() && context.failure.borrow().is_none() {
            let found = kind_of(text.trim_ascii_start());
            let expected = "expected the arguments as an array or an object";
            return ValueError::misfit(format!("{expected}, found {found}; {}", known(parameters)));
        }
        context.into_error(&error, "the arguments")
    })
}

/// Reads the arguments of a function.
struct Arguments<'a> {
    parameters: &'a [Field],
    context: &'a Context,
    build: bool,
}

/// Lists the parameters, for messages.
fn known(parameters: &[Field]) -> String {
    let shown = parameters.iter().take(10);
    let shown = shown.map(|parameter| format!("{}: {}", parameter.name, parameter.shape.name()));
    let more = (parameters.len() > 10).then(|| format!("and {} more", parameters.len() - 10));
    match &*shown.chain(more).collect::<Vec<_>>() {
        [] => "the task has no parameters".to_owned(),
        shown => format!("the parameters are ({})", shown.join(", ")),
    }
}

impl<'de> Visitor<'de> for Arguments<'_> {
    type Value = ReadArguments;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array or an object")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut values = Vec::with_capacity(self.parameters.len());
        for parameter in self.parameters {
            let seed = Seed { shape: &parameter.shape, context: self.context, build: self.build };
            let value = self.context.enter(seq.next_element_seed(seed), || parameter.name.to_string())?;
            match value {
                Some(value) => values.push(value),
                None => break,
            }
        }
        let given = values.len() + count_rest(&mut seq)?;
        let missing = self.parameters.get(given..).unwrap_or_default();
        if given > self.parameters.len() || !missing.iter().all(|parameter| parameter.shape.is_option()) {
            let expected = match self.parameters.len() {
                1 => "1 argument".to_owned(),
                count => format!("{count} arguments"),
            };
            let known = known(self.parameters);
            return Err(self.context.fail(format!("expected {expected}, found {given}; {known}")));
        }
        values.extend(missing.iter().map(|_| Val::Option(None)));
        Ok(ReadArguments { values, elements: Some(given) })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let values =
            read_members(&mut map, self.parameters, self.context, self.build, "parameter", str::to_owned)?;
        Ok(ReadArguments { values, elements: None })
    }
}

#[cfg(test)]
mod tests {
    use super::super::{NAME_BYTES, Shape, VALUE_BYTES};
    use super::*;

    const ROOM: usize = 10_000;

    fn parameters(shape: Shape) -> Vec<Field> {
        vec![Field { name: "values".into(), shape }]
    }

    /// Whether it is too large, built or only checked.
    fn is_too_large(text: &str, shape: Shape) -> bool {
        let parameters = parameters(shape);
        let read = [true, false].map(|build| match read_arguments_within(ROOM, text, &parameters, build) {
            Ok(_) => false,
            Err(error) => {
                assert!(error.is_too_large, "{error}");
                assert!(error.to_string().contains("too large: the values take more than"), "{error}");
                true
            }
        });
        assert_eq!(read[0], read[1]);
        read[0]
    }

    #[test]
    fn values_have_room_for_so_many_bytes_whether_they_are_built_or_not() {
        let bytes = || Shape::List(Box::new(Shape::U8));
        // The list is a value too.
        let most = ROOM / VALUE_BYTES - 1;
        let text = |count: usize| format!("[[{}7]]", "7,".repeat(count - 1));
        assert!(!is_too_large(&text(most), bytes()) && is_too_large(&text(most + 1), bytes()));
        let base64 = |count: usize| format!(r#"[{{"$base64":"{}"}}]"#, "AAAA".repeat(count / 3));
        // What it is written as is a string.
        assert!(!is_too_large(&base64(most / 2), bytes()) && is_too_large(&base64(most + 3), bytes()));
        let text = |length: usize| format!("[{:?}]", "x".repeat(length));
        let most = ROOM - VALUE_BYTES;
        assert!(!is_too_large(&text(most), Shape::String) && is_too_large(&text(most + 1), Shape::String));

        // Names are copied for each record.
        let name = "a-name-of-some-length";
        let field = Field { name: name.into(), shape: Shape::Bool };
        let records = || Shape::List(Box::new(Shape::Record(vec![field.clone()].into())));
        let most = (ROOM - VALUE_BYTES) / (2 * VALUE_BYTES + NAME_BYTES + name.len());
        let text = |count: usize| format!("[[{}]]", vec![format!(r#"{{"{name}":true}}"#); count].join(","));
        assert!(!is_too_large(&text(most), records()) && is_too_large(&text(most + 1), records()));
    }

    #[test]
    fn what_does_not_fit_its_type_is_not_too_large() {
        let error = read_arguments("[[1,256]]", &parameters(Shape::List(Box::new(Shape::U8))), true);
        assert!(error.is_err_and(|error| !error.is_too_large));
    }
}
