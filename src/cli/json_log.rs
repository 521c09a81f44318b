//! Log lines as JSON: one object each, with fields whose names are a contract.

use std::fmt;

use serde::ser::{SerializeMap, Serializer};
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::model::UnixMicros;

/// Writes a line: `at`, `level`, `message`, `target`, and the fields of the event.
#[derive(Debug, Clone, Copy)]
pub struct JsonLines;

impl<S, N> FormatEvent<S, N> for JsonLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let metadata = event.metadata();
        let level = metadata.level().as_str().to_ascii_lowercase();
        writeln!(writer, "{}", line(&level, &fields.message, Some(metadata.target()), &fields.others))
    }
}

/// Makes a line of what is told besides the log.
pub fn note(level: &str, message: &str) -> String {
    line(level, message, None, &Map::new())
}

/// Makes a line of what is told besides the log, with the fields of a document.
pub fn note_with(level: &str, message: &str, event: &str, document: &impl serde::Serialize) -> String {
    let mut fields = Map::from_iter([("event".to_owned(), Value::from(event))]);
    if let Ok(Value::Object(others)) = serde_json::to_value(document) {
        fields.extend(others);
    }
    line(level, message, None, &fields)
}

fn line(level: &str, message: &str, target: Option<&str>, others: &Map<String, Value>) -> String {
    let mut bytes = Vec::new();
    let mut serializer = serde_json::Serializer::new(&mut bytes);
    let written = (|| {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("at", &now())?;
        map.serialize_entry("level", level)?;
        map.serialize_entry("message", message)?;
        target.map_or(Ok(()), |target| map.serialize_entry("target", target))?;
        others.iter().try_for_each(|(name, value)| map.serialize_entry(name, value))?;
        map.end()
    })();
    debug_assert!(written.is_ok(), "texts and numbers are JSON");
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The time by the clock of this machine.
fn now() -> String {
    UnixMicros(jiff::Timestamp::now().as_microsecond()).to_rfc3339()
}

/// The fields of an event.
#[derive(Default)]
struct Fields {
    message: String,
    others: Map<String, Value>,
}

impl Fields {
    fn set(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("message", Value::String(text)) => self.message = text,
            (name, value) => _ = self.others.insert(name.to_owned(), value),
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.set(field, format!("{value:?}").into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.set(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.set(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.set(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.set(field, value.into());
    }
}
