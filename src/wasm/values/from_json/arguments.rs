//! Reading of a function's arguments from JSON text.

use std::fmt;
use std::sync::Arc;

use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use wasmtime::component::Val;

use crate::wasm::host_memory::{Held, HostMemory};

use super::{Context, Field, Seed, VALUE_BYTES, VALUES_BYTES, ValueError, count_rest, kind_of, read_members};

/// Reads the arguments of a function: a JSON array by position or an object by
/// parameter name, in which an `option` parameter may be left out (in the array:
/// at its end). Charges their bytes to an account.
///
/// # Errors
///
/// ``points[3].x: expected f64, found string``, or what is unknown, missing, given
/// twice or too much, with a list of what is known.
pub(in crate::wasm) fn charged_arguments(
    text: &str,
    parameters: &[Field],
    account: &Arc<HostMemory>,
) -> Result<(Vec<Val>, Held), ValueError> {
    let context = Context::new(VALUES_BYTES, Some(account));
    let (values, context) = read_arguments(context, text, parameters, false)?;
    Ok((values, context.into_held(account)))
}

/// Checks arguments as [`charged_arguments`] does, and returns their canonical text: a JSON array with one
/// element for each parameter. Equal values have equal texts, whatever the form, the order of members, the
/// escapes and the spaces in which they were given, and what was left out is `null`.
///
/// # Errors
///
/// As [`charged_arguments`].
pub(in crate::wasm) fn canonical_arguments(text: &str, parameters: &[Field]) -> Result<Arc<str>, ValueError> {
    let (_, context) = read_arguments(Context::new(VALUES_BYTES, None), text, parameters, true)?;
    Ok(context.text.into_inner().into())
}

/// Reads arguments: as values, or as their canonical text.
fn read_arguments(
    context: Context,
    text: &str,
    parameters: &[Field],
    writes: bool,
) -> Result<(Vec<Val>, Context), ValueError> {
    let scratch = context.scratch(text)?;
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let arguments = Arguments { parameters, context: &context, writes };
    let result = (&mut deserializer).deserialize_any(arguments);
    let result = result.and_then(|values| deserializer.end().map(|()| values));
    drop(scratch);
    match result {
        Ok(values) => Ok((values, context)),
        // JSON that is neither an array nor an object.
        Err(error) if error.is_data() && context.failure.borrow().is_none() => {
            let found = kind_of(text.trim_ascii_start());
            let expected = "expected the arguments as an array or an object";
            Err(ValueError::misfit(format!("{expected}, found {found}; {}", known(parameters))))
        }
        Err(error) => Err(context.into_error(&error, "the arguments")),
    }
}

/// Reads the arguments of a function.
struct Arguments<'a> {
    parameters: &'a [Field],
    context: &'a Context,
    writes: bool,
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
    type Value = Vec<Val>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array or an object")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut values = Vec::with_capacity(self.parameters.len());
        let write = |text: &str| {
            if self.writes {
                self.context.write(text)
            }
        };
        write("[");
        for parameter in self.parameters {
            let seed = Seed { shape: &parameter.shape, context: self.context, writes: self.writes };
            let value = self.context.enter(seq.next_element_seed(seed), || parameter.name.to_string())?;
            match value {
                Some(value) => values.push(value),
                None => break,
            }
            write(",");
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
        self.context.charge(missing.len() * VALUE_BYTES)?;
        values.extend(missing.iter().map(|_| Val::Option(None)));
        missing.iter().for_each(|_| write("null,"));
        if self.writes {
            self.context.close_array();
        }
        Ok(values)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let values =
            read_members(&mut map, self.parameters, self.context, self.writes, "parameter", str::to_owned)?;
        if self.writes {
            self.context.write("[");
            for text in &values {
                if let Val::String(text) = text {
                    self.context.write(text);
                    self.context.write(",");
                }
            }
            self.context.close_array();
        }
        Ok(values)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{NAME_BYTES, Shape};
    use super::*;

    const ROOM: usize = 10_000;

    fn parameters(shape: Shape) -> Vec<Field> {
        vec![Field { name: "values".into(), shape }]
    }

    /// Whether it is too large, built or written.
    fn is_too_large(text: &str, shape: Shape) -> bool {
        let parameters = parameters(shape);
        let read = [true, false].map(|writes| {
            match read_arguments(Context::new(ROOM, None), text, &parameters, writes) {
                Ok(_) => false,
                Err(error) => {
                    assert!(error.is_too_large, "{error}");
                    assert!(error.to_string().contains("too large: the values take more than"), "{error}");
                    true
                }
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
        let error = read_arguments(
            Context::new(ROOM, None),
            "[[1,256]]",
            &parameters(Shape::List(Box::new(Shape::U8))),
            true,
        );
        assert!(error.is_err_and(|error| !error.is_too_large));
    }
}
