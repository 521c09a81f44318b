//! JSON as the runner maps it to WIT.

pub use serde_json::Value as Json;

/// The arguments of a task.
#[doc(hidden)]
pub fn arguments(values: Vec<Json>) -> String {
    Json::Array(values).to_string()
}

/// A member of an object.
#[doc(hidden)]
pub fn member<'j>(json: &'j Json, name: &str) -> Result<&'j Json, String> {
    json.get(name).ok_or_else(|| format!("there is no `{name}` in {json}"))
}

/// The name of a case, and its payload.
#[doc(hidden)]
pub fn tagged(json: &Json) -> Result<(&str, &Json), String> {
    match json {
        Json::String(name) => Ok((name, &Json::Null)),
        Json::Object(members) if members.len() == 1 => {
            members.iter().next().map(|(name, value)| (name.as_str(), value)).ok_or_else(String::new)
        }
        other => Err(format!("{other} is no case")),
    }
}

/// The names of the flags that are set.
#[doc(hidden)]
pub fn flags<const N: usize>(flags: [(&str, bool); N]) -> Json {
    flags
        .into_iter()
        .filter(|(_, is_set)| *is_set)
        .map(|(name, _)| Json::from(name))
        .collect::<Vec<_>>()
        .into()
}

/// Whether each of some names is there.
#[doc(hidden)]
pub fn flagged<const N: usize>(json: &Json, names: [&str; N]) -> Result<[bool; N], String> {
    let found = json.as_array().ok_or_else(|| format!("{json} is no list of flags"))?;
    let found: Vec<&str> = found.iter().filter_map(Json::as_str).collect();
    Ok(names.map(|name| found.contains(&name)))
}
