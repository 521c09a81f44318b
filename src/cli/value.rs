//! The value of an invocation on standard output: as JSON, or with `--raw` as its bytes.

use base64::Engine;

use crate::model::Outcome;

use super::error::CliError;
use super::output::Output;
use super::render::{Limited, complain_of_failure};

/// Writes the value of an invocation, unless its document was written, or tells why it has none:
/// [`CliError::Task`] then.
pub fn show(
    outcome: &Outcome,
    of: &Limited<'_>,
    what: &str,
    raw: bool,
    output: &mut Output,
) -> Result<(), CliError> {
    match outcome {
        Outcome::Value(json) if raw => output.bytes(&bytes(json)?)?,
        Outcome::Value(json) => output.value(json)?,
        Outcome::Failure(failure) => {
            complain_of_failure(what, of, failure);
            return Err(CliError::Task(failure.kind.exit_class()));
        }
    }
    output.flush()
}

/// The bytes of a string or `list<u8>` value.
/// A usage error for any other value.
fn bytes(json: &str) -> Result<Vec<u8>, CliError> {
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Base64 {
        #[serde(rename = "$base64")]
        base64: String,
    }
    let refuse = || {
        CliError::usage("`--raw` writes a string or `list<u8>` as its bytes, and the value is neither")
            .with_hint("leave `--raw` out to get the value as JSON")
    };
    match json.trim_start().as_bytes().first() {
        Some(b'"') => serde_json::from_str::<String>(json).map(String::into_bytes).map_err(|_| refuse()),
        Some(b'[') => serde_json::from_str::<Vec<u8>>(json).map_err(|_| refuse()),
        Some(b'{') => {
            let Base64 { base64 } = serde_json::from_str(json).map_err(|_| refuse())?;
            base64::engine::general_purpose::STANDARD.decode(base64).map_err(|_| refuse())
        }
        _ => Err(refuse()),
    }
}

/// Checks before anything runs that a result of this WIT type has bytes.
/// A usage error if it has none.
pub fn check_type(type_name: Option<&str>) -> Result<(), CliError> {
    let value = type_name.map(ok_type);
    if matches!(value, Some("string" | "list<u8>")) {
        return Ok(());
    }
    let found = type_name.map_or("no result".to_owned(), |name| format!("a result of type `{name}`"));
    let error = CliError::usage(format!("`--raw` needs a string or `list<u8>`, and the task has {found}"));
    Err(error.with_hint("leave `--raw` out to get the value as JSON"))
}

/// Cuts a type down to that of a success: `T` of `result<T, E>`.
fn ok_type(name: &str) -> &str {
    let Some(inner) = name.strip_prefix("result<").and_then(|rest| rest.strip_suffix('>')) else {
        return name;
    };
    let mut depth = 0;
    for (index, c) in inner.char_indices() {
        match c {
            '<' => depth += 1,
            '>' => depth -= 1,
            ',' if depth == 0 => return inner[..index].trim(),
            _ => {}
        }
    }
    inner.trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_and_bytes_have_bytes() {
        assert_eq!(bytes(r#""aé""#).expect("a string"), "aé".as_bytes());
        assert_eq!(bytes("[0,255]").expect("bytes"), [0, 255]);
        assert_eq!(bytes(r#"{"$base64":"AP8="}"#).expect("bytes"), [0, 255]);
        for other in ["1", "null", "[256]", "[1,\"a\"]", r#"{"a":1}"#, r#"{"$base64":"!"}"#] {
            assert!(bytes(other).is_err(), "{other}");
        }
    }

    #[test]
    fn types_are_known_before_the_task_runs() {
        for good in ["string", "list<u8>", "result<list<u8>, string>", "result<string>"] {
            assert!(check_type(Some(good)).is_ok(), "{good}");
        }
        for bad in ["u8", "list<u32>", "result<list<string>, string>", "option<string>", "result<_, string>"]
        {
            assert!(check_type(Some(bad)).is_err(), "{bad}");
        }
        assert!(check_type(None).is_err());
    }
}
