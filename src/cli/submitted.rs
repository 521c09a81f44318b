//! What became of a submit, told to whoever typed it.

use std::sync::Arc;

use serde_json::Value;

use crate::model::InvocationId;
use crate::store::{Store, StoreError, Submitted};
use crate::wasm::Task;

use super::error::CliError;
use super::output;

/// What was submitted, for messages.
pub struct Submit<'a> {
    /// The task.
    pub task: &'a Task,
    /// The checked arguments.
    pub arguments: &'a Arc<str>,
    /// The idempotency key.
    pub key: Option<&'a str>,
}

impl Submit<'_> {
    /// The id under which the store has it.
    ///
    /// # Errors
    ///
    /// A usage error if a key or a rule refuses it.
    pub fn id(&self, store: &dyn Store, submitted: Submitted) -> Result<InvocationId, CliError> {
        match submitted {
            Submitted::Created(id) => Ok(id),
            Submitted::Existing(id) if self.key.is_some() => {
                output::note(&format!("submitted before: `{id}` has the same key"));
                Ok(id)
            }
            Submitted::Existing(id) => {
                let differences = self.differences(store, id)?;
                let but = if differences.is_empty() { "" } else { ", with other arguments: " };
                output::note(&format!(
                    "not submitted: the unfinished `{id}` is the same by the task's uniqueness rule{but}{differences}"
                ));
                Ok(id)
            }
            Submitted::KeyConflict(id) => {
                let key = self.key.unwrap_or_default();
                let message = format!("the key `{key}` is taken by invocation `{id}` with other arguments");
                Err(CliError::usage(message).with_hint("submit the same arguments, or use another key"))
            }
            Submitted::UniqueConflict(id) => {
                let message = format!(
                    "the unfinished invocation `{id}` is the same by the task's uniqueness rule and has other \
                     arguments: {}",
                    self.differences(store, id)?
                );
                let hint = format!("wait for it with `run-wasm-runner result {id} --wait`, or cancel it");
                Err(CliError::usage(message).with_hint(hint))
            }
            Submitted::Orphan | Submitted::BehindAncestor(_) => {
                unreachable!("only children have parents and ancestors")
            }
        }
    }

    /// Where the arguments differ from those of another invocation: ``point:
    /// `{"x":0}` there, `{"x":1}` here``.
    fn differences(&self, store: &dyn Store, other: InvocationId) -> Result<String, StoreError> {
        let Some(there) = store.arguments(other)? else {
            return Ok(String::new());
        };
        let parse = |text: &str| serde_json::from_str::<Vec<Value>>(text).unwrap_or_default();
        let (there, here) = (parse(&there), parse(self.arguments));
        let names = self.task.parameters.iter().map(|parameter| parameter.name.as_str());
        let differing = names.zip(there.iter().zip(&here)).filter(|(_, (there, here))| there != here);
        let texts: Vec<_> = differing
            .map(|(name, (there, here))| format!("`{name}`: `{}` there, `{}` here", cut(there), cut(here)))
            .collect();
        Ok(texts.join("; "))
    }
}

/// A value for a message.
fn cut(value: &Value) -> String {
    const LONGEST: usize = 60;
    let text = value.to_string();
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
