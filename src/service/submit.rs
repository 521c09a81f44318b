//! Submitting: invocations of one task, in as many transactions as it takes.

use std::sync::Arc;

use serde_json::Value;

use super::adopt::adoptions;
use super::patience::{Access, CHUNK_BYTES, Transactions};
use super::{Found, Remedy, Service, ServiceError, SubmitDocument};
use crate::model::{InvocationId, LimitKind, SubmitLimits, SubmitOptions, Submitter};
use crate::store::{Adoption, Batch, NewInvocation, StoreError, SubmitError, Submitted, TaskRule};
use crate::wasm::Task;

/// One transaction has at most this many submits: ids come out while later ones are
/// still being written.
const CHUNK: usize = 5_000;

/// A submit under way.
struct Submission {
    access: Access,
    task: Task,
    arguments: Vec<Arc<str>>,
    options: SubmitOptions,
    /// The adoptions of the task's former id, for the first transaction.
    adoptions: Vec<Adoption>,
    done: usize,
}

impl Service {
    /// Lists the adoptions by which a task takes over the id that it had before ids named components. The first
    /// submit under the full id must carry them: once the store knows that id, nothing is adopted.
    pub(super) fn adoptions_of(&self, task: &Task) -> Result<Vec<Adoption>, ServiceError> {
        let mut adoptions = adoptions(self.library()?.tasks());
        adoptions.retain(|adoption| adoption.to == task.id);
        Ok(adoptions)
    }

    /// Checks arguments, a JSON array or object, against the parameters of a task, and
    /// returns them as they are stored.
    ///
    /// # Errors
    ///
    /// [`ServiceError::Invalid`] with the path and both types.
    pub fn check_arguments(&self, task: &Task, json: &str) -> Result<Arc<str>, ServiceError> {
        let trimmed = json.trim_start_matches('\u{feff}').trim();
        if !trimmed.starts_with(['[', '{']) {
            let found = match trimmed.char_indices().nth(40) {
                Some((end, _)) => format!("`{}…`", &trimmed[..end]),
                None if trimmed.is_empty() => "nothing".to_owned(),
                None => format!("`{trimmed}`"),
            };
            let message = format!("arguments must be a JSON array or object, found {found}");
            let is_json = serde_json::from_str::<serde::de::IgnoredAny>(trimmed).is_ok();
            return Err(ServiceError::invalid(message).with_remedy(match is_json {
                true => format!("put it into an array: `'[{trimmed}]'`"),
                false => format!("an array has one value for each parameter: `'[{}]'`", example(task)),
            }));
        }
        self.library()?.check_arguments(task, trimmed).map_err(|error| {
            ServiceError::invalid(error.to_string())
                .with_remedy(format!("the task is `{}`", task.signature()))
        })
    }

    /// Begins to submit invocations of a task, one for each of the checked `arguments`.
    /// Nothing is submitted before the first transaction is asked for. Each has one answer per
    /// invocation, in order: what a rule refuses does not keep the others from being submitted.
    ///
    /// # Errors
    ///
    /// If the options do not fit, or the store can't be opened.
    pub fn submit(
        &self,
        task: Task,
        arguments: Vec<Arc<str>>,
        options: SubmitOptions,
    ) -> Result<Transactions<Vec<Result<SubmitDocument, ServiceError>>>, ServiceError> {
        SubmitError::check_keys(arguments.len(), options.key.is_some())?;
        check_limits(&task, &options.limits)?;
        if let Some(first) = arguments.first() {
            NewInvocation::of(task.prepared(Arc::clone(first)), options.clone(), Submitter::Outside)?;
        }
        let access = self.access()?;
        let adoptions = self.adoptions_of(&task)?;
        let mut submission = Submission { access, task, arguments, options, adoptions, done: 0 };
        Ok(Transactions::new(move || match submission.done == submission.arguments.len() {
            true => Ok(None),
            false => submission.chunk().map(Some),
        }))
    }
}

/// Refuses a limit that no attempt of the task could keep.
pub(super) fn check_limits(task: &Task, limits: &SubmitLimits) -> Result<(), ServiceError> {
    if let Some((kind, _)) = limits.entries().find(|(kind, _)| !SubmitLimits::can_set(*kind)) {
        return Err(ServiceError::invalid(format!("a submit can't limit `{kind}`")));
    }
    if limits.get(LimitKind::Fuel).is_some() && task.options.limits[LimitKind::Fuel].is_none() {
        let message = format!(
            "a submit can limit `fuel` only of a task that has a limit of it, and `{}` has none",
            task.id
        );
        return Err(ServiceError::invalid(message).with_remedy(format!(
            "`cpu` limits the processor time of any task; `fuel` in `[task.\"{}\".limits]` lets fuel be counted",
            task.id
        )));
    }
    Ok(())
}

impl Submission {
    /// Submits the next chunk.
    fn chunk(&mut self) -> Result<Vec<Result<SubmitDocument, ServiceError>>, ServiceError> {
        let mut bytes = 0;
        let fits = |arguments: &&Arc<str>| {
            bytes += arguments.len();
            bytes <= CHUNK_BYTES
        };
        let rest = &self.arguments[self.done..];
        let count = rest.iter().take(CHUNK).take_while(fits).count().max(1);
        let new = |arguments: &Arc<str>| {
            let call = self.task.prepared(Arc::clone(arguments));
            NewInvocation::of(call, self.options.clone(), Submitter::Outside)
        };
        let submits = rest[..count].iter().map(new).collect::<Result<_, _>>()?;
        let default_rules = vec![TaskRule::new(&self.task.id, &self.task.options.rules)];
        let adoptions = std::mem::take(&mut self.adoptions);
        let batch = Batch { adoptions, default_rules, submits, ..Batch::default() };
        self.done += count;
        // Repeated with the same ids: an answer that was lost costs nothing, and
        // nothing is submitted twice.
        let receipt =
            self.access.commit(&batch).map_err(|source| match (&source, batch.submits.first()) {
                (StoreError::Unavailable { .. }, Some(first)) if self.access.store().is_remote() => {
                    ServiceError::Uncertain { first: first.id, count, source }
                }
                _ => source.into(),
            })?;
        let answers = batch.submits.iter().zip(receipt.submits);
        Ok(answers.map(|(new, submitted)| answer(&self.access, &self.task, new, submitted)).collect())
    }
}

/// Finds the invocation that a submit was answered with; [`ServiceError::Conflict`] if a key or
/// a rule refuses it, [`ServiceError::OverQuota`] if a quota does.
pub(super) fn answer(
    access: &Access,
    task: &Task,
    new: &NewInvocation,
    submitted: Submitted,
) -> Result<SubmitDocument, ServiceError> {
    let differences = |other| differences(access, task, &new.arguments, other);
    match submitted {
        Submitted::Created(id) => Ok(SubmitDocument { id, found: None }),
        // The answer to the first try was lost.
        Submitted::Existing(id) if id == new.id => Ok(SubmitDocument { id, found: None }),
        Submitted::Existing(id) => {
            let found = match new.key {
                Some(_) => Found::SameKey,
                None => Found::SameByRule { differences: differences(id)? },
            };
            Ok(SubmitDocument { id, found: Some(found) })
        }
        Submitted::KeyConflict(id) => {
            let key = new.key.as_deref().unwrap_or_default();
            let message = format!("the key `{key}` is taken by invocation `{id}` with other arguments");
            let remedy = Some("submit the same arguments, or use another key".into());
            Err(ServiceError::Conflict { id, message, remedy })
        }
        Submitted::UniqueConflict(id) => {
            let message = format!(
                "the unfinished invocation `{id}` is the same by the task's uniqueness rule and has other \
                 arguments: {}",
                differences(id)?
            );
            Err(ServiceError::Conflict { id, message, remedy: Some(Remedy::WaitOrCancel(id)) })
        }
        Submitted::OverQuota(over) => {
            Err(ServiceError::OverQuota { message: over.to_string(), kind: Some(over.kind) })
        }
        Submitted::Orphan | Submitted::BehindAncestor(_) => {
            unreachable!("only children have parents and ancestors")
        }
    }
}

/// Says where arguments differ from those of another invocation: ``point: `{"x":0}` there,
/// `{"x":1}` here``.
fn differences(
    access: &Access,
    task: &Task,
    arguments: &str,
    other: InvocationId,
) -> Result<String, StoreError> {
    let Some(there) = access.ask(|store| store.arguments(other))? else {
        return Ok(String::new());
    };
    let parse = |text: &str| serde_json::from_str::<Vec<Value>>(text).unwrap_or_default();
    let (there, here) = (parse(&there), parse(arguments));
    let names = task.parameters.iter().map(|parameter| parameter.name.as_str());
    let differing = names.zip(there.iter().zip(&here)).filter(|(_, (there, here))| there != here);
    let texts: Vec<_> = differing
        .map(|(name, (there, here))| format!("`{name}`: `{}` there, `{}` here", cut(there), cut(here)))
        .collect();
    Ok(texts.join("; "))
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

fn example(task: &Task) -> String {
    let values = task.parameters.iter().map(|parameter| match parameter.type_name.as_str() {
        "string" | "char" => "\"a\"",
        "bool" => "true",
        "u8" | "u16" | "u32" | "u64" | "s8" | "s16" | "s32" | "s64" | "f32" | "f64" => "1",
        name if name.starts_with("list<") => "[]",
        name if name.starts_with("option<") => "null",
        _ => "…",
    });
    values.collect::<Vec<_>>().join(", ")
}
