//! Rules of tasks and the types of tasks: the keys by which invocations are counted, and checks of configured
//! paths.

use std::sync::Arc;

use super::discover::{Export, Signature};
use super::task::Task;
use super::values::Shape;
use crate::model::{Differing, Per, PreparedCall, RuleKey, TaskRules};

impl Task {
    /// Prepares a call with these checked arguments.
    pub fn prepared(&self, arguments: Arc<str>) -> PreparedCall {
        PreparedCall {
            task: Arc::clone(&self.id),
            digest: self.digest,
            lane: self.lane(&arguments),
            unique: self.unique(&arguments),
            arguments,
            max_attempts: self.options.max_attempts,
            priority: self.options.priority,
            deadline: self.options.deadline,
        }
    }

    /// Writes the task with its types: `math::fib(n: u32) -> u64`.
    pub fn signature(&self) -> String {
        self.signature_as(&self.id)
    }

    /// Writes its types behind another name.
    pub fn signature_as(&self, name: &str) -> String {
        let parameters = self.parameters.iter();
        let parameters: Vec<_> =
            parameters.map(|parameter| format!("{}: {}", parameter.name, parameter.type_name)).collect();
        let result = self.result.as_ref().map(|result| format!(" -> {result}")).unwrap_or_default();
        format!("{name}({}){result}", parameters.join(", "))
    }

    /// The first line of its documentation.
    pub fn summary(&self) -> Option<&str> {
        self.docs.as_deref()?.lines().next()
    }

    /// The key by which its concurrency and rate rules count an invocation with these checked arguments.
    fn lane(&self, arguments: &str) -> Option<RuleKey> {
        let rules = &self.options.rules;
        rules.has_lanes().then(|| self.key(&rules.lane, arguments))
    }

    /// The key by which its uniqueness rule recognises such an invocation.
    fn unique(&self, arguments: &str) -> Option<(RuleKey, Differing)> {
        let unique = self.options.rules.unique.as_ref()?;
        Some((self.key(&unique.per, arguments), unique.differing))
    }

    fn key(&self, per: &Per, arguments: &str) -> RuleKey {
        let names: Vec<&str> = self.parameters.iter().map(|parameter| parameter.name.as_str()).collect();
        per.key(&names, arguments)
    }
}

/// Checks that a task has the parameters that its rules count by.
pub(super) fn check(export: &Export, rules: &TaskRules) -> Result<(), String> {
    let lanes = rules.has_lanes().then_some(&rules.lane);
    let unique = rules.unique.as_ref().map(|unique| &unique.per);
    for per in lanes.into_iter().chain(unique) {
        let Per::Keys(paths) = per else { continue };
        for path in paths.iter() {
            find(path, &export.signature)
                .map_err(|message| format!("`per` in the rules of `{}`: {message}", export.id))?;
        }
    }
    Ok(())
}

/// Checks that a path exists: a parameter, and fields within it.
fn find(path: &str, signature: &Signature) -> Result<(), String> {
    let mut fields = Some(&signature.parameters[..]);
    let mut within = "it has no parameter".to_owned();
    for name in path.split('.') {
        let Some(known) = fields else {
            return Err(format!("`{path}`: {within} is no record, so it has no field `{name}`"));
        };
        let Some(field) = known.iter().find(|field| &*field.name == name) else {
            let names: Vec<_> = known.iter().map(|field| format!("`{}`", field.name)).collect();
            let known = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            return Err(format!("`{path}`: {within} `{name}` (known: {known})"));
        };
        let mut shape = &field.shape;
        while let Shape::Option(inner) = shape {
            shape = inner;
        }
        (fields, within) = match shape {
            Shape::Record(fields) => (Some(&**fields), format!("`{name}` has no field")),
            _ => (None, format!("`{name}`")),
        };
    }
    Ok(())
}
