//! Imports of other tasks' interfaces: each call becomes a child invocation.

use std::sync::Arc;

use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Val};

use super::discover::{Import, ImportKind, Signature};
use super::host::{self, ChildFailed, HostState};
use super::loaded::Loaded;
use super::names::is_compatible;
use super::values::{Shape, to_json, value_from_json};
use crate::model::{ChildRequest, FailureKind, Outcome, SubmitOptions};

/// The most bytes of one typed call's arguments as JSON.
const MAX_ARGUMENTS_BYTES: usize = 256 << 20;

/// The provider of an import.
pub(super) enum Provider {
    /// WASI, as far as the component was granted it.
    Wasi,
    /// The runner itself.
    Runner,
    /// Nobody is needed: it only names types.
    Types,
    /// Another component's tasks: the index of the component, and the interface
    /// as that exports it.
    Component(usize, Box<str>),
}

/// Finds who provides an import.
///
/// # Errors
///
/// Nobody does, several do, or what they provide is something else: in words.
pub(super) fn provider(import: &Import, components: &[&Loaded]) -> Result<Provider, String> {
    if import.name.starts_with("wasi:") {
        return Ok(Provider::Wasi);
    }
    if import.name.starts_with(host::PACKAGE) {
        return Ok(Provider::Runner);
    }
    if import.is_types_only() {
        return Ok(Provider::Types);
    }
    let ImportKind::Interface { functions, has_resources } = &import.kind else {
        return Err(format!("imports `{}`, which is not an interface: nothing can provide it", import.name));
    };
    if *has_resources {
        return Err(format!("imports `{}`, which has resources: no task can provide those", import.name));
    }
    let mut candidates: Vec<(usize, &str)> = Vec::new();
    for (index, component) in components.iter().enumerate() {
        for interface in component.interfaces() {
            if is_compatible(&import.name, interface) && !candidates.contains(&(index, interface)) {
                candidates.push((index, interface));
            }
        }
    }
    let (index, interface) = match *candidates {
        [candidate] => candidate,
        [] => {
            let others = other_versions(&import.name, components);
            let hint = match others.is_empty() {
                true => "hint: add the component that does".to_owned(),
                false => format!("other versions do not fit: {}", others.join(", ")),
            };
            return Err(format!("imports `{}`, which no configured component exports ({hint})", import.name));
        }
        _ => {
            let names: Vec<_> = candidates
                .iter()
                .map(|(index, interface)| format!("`{interface}` of `{}`", components[*index].name))
                .collect();
            return Err(format!(
                "imports `{}`, which several components export: {}",
                import.name,
                names.join(", ")
            ));
        }
    };
    for (function, signature) in functions {
        let signature = signature.as_ref().map_err(|reason| {
            format!("imports `{}.{function}`, which can't be a task: {reason}", import.name)
        })?;
        let export = components[index].export(interface, function).ok_or_else(|| {
            format!(
                "imports `{}.{function}`, which `{}` does not export",
                import.name, components[index].name
            )
        })?;
        signature.is_satisfied_by(&export.signature).map_err(|difference| {
            format!(
                "imports `{}.{function}` with other types than `{}` exports it: {difference}",
                import.name, components[index].name
            )
        })?;
    }
    Ok(Provider::Component(index, interface.into()))
}

/// The exports under the name of an import, in whatever version.
fn other_versions(import: &str, components: &[&Loaded]) -> Vec<String> {
    let unversioned = |name: &str| name.split('@').next().unwrap_or_default().to_owned();
    let mut found = Vec::new();
    for component in components {
        for interface in component.interfaces() {
            let other = format!("`{interface}` of `{}`", component.name);
            if unversioned(interface) == unversioned(import) && !found.contains(&other) {
                found.push(other);
            }
        }
    }
    found
}

/// Defines one imported function as a call of `task`.
pub(super) fn define(
    linker: &mut Linker<HostState>,
    interface: &str,
    function: &str,
    task: Arc<str>,
    signature: Signature,
) -> wasmtime::Result<()> {
    let signature = Arc::new(signature);
    linker.instance(interface)?.func_new_async(function, move |store, _, arguments, results| {
        let (task, signature) = (Arc::clone(&task), Arc::clone(&signature));
        Box::new(call(store, task, signature, arguments, results))
    })
}

async fn call(
    mut store: StoreContextMut<'_, HostState>,
    task: Arc<str>,
    signature: Arc<Signature>,
    arguments: &[Val],
    results: &mut [Val],
) -> wasmtime::Result<()> {
    let mut json = String::from("[");
    for (index, argument) in arguments.iter().enumerate() {
        if index > 0 {
            json.push(',');
        }
        to_json(argument, &mut json, MAX_ARGUMENTS_BYTES)?;
    }
    json.push(']');
    let child =
        ChildRequest { task: Arc::clone(&task), arguments: json.into(), options: SubmitOptions::default() };
    let called = store.data_mut().call_child(child).await;
    let (id, outcome) = called.map_err(|refusal| ChildFailed::refused(&task, &refusal))?;
    let misfit = |error: &dyn std::fmt::Display| ChildFailed::misfit(&task, id, error);
    let read =
        |json: &str, shape: &Shape| value_from_json(json, shape, "value").map_err(|error| misfit(&error));
    let payload = |json: &str, shape: &Option<Box<Shape>>| {
        shape.as_deref().map(|shape| read(json, shape).map(Box::new)).transpose()
    };
    let value = match (&outcome, &signature.result) {
        (Outcome::Value(json), Some(Shape::Result { ok, .. })) => Some(Val::Result(Ok(payload(json, ok)?))),
        (Outcome::Value(json), Some(shape)) => Some(read(json, shape)?),
        (Outcome::Value(_), None) => None,
        (Outcome::Failure(failure), Some(Shape::Result { err, .. }))
            if failure.kind == FailureKind::Returned =>
        {
            let json = failure.error.as_ref().map_or("null", |error| error.get());
            Some(Val::Result(Err(payload(json, err)?)))
        }
        (Outcome::Failure(failure), _) => return Err(ChildFailed::failed(&task, id, failure).into()),
    };
    if let (Some(value), Some(result)) = (value, results.first_mut()) {
        *result = value;
    }
    Ok(())
}
