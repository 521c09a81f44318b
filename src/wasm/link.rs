//! Imports of other tasks' interfaces: each call becomes a child invocation.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Val};

use super::discover::{Export, Import, ImportKind, Signature};
use super::host::{self, HostState};
use super::host_memory::Held;
use super::loaded::Loaded;
use super::source::ImportChoices;
use super::suggest::list;
use super::values::{Shape, WriteError, bytes_of, charged_value, to_charged_json};
use crate::model::{FailureKind, InvocationId, Outcome, compare_versions, is_compatible, split_version};

/// The most bytes of one typed call's arguments as JSON.
const MAX_ARGUMENTS_BYTES: usize = 256 << 20;

/// The provider of an import.
pub(super) enum Provider {
    /// WASI, within the component's grants.
    Wasi,
    /// The runner itself.
    Runner,
    /// Nobody is needed: it only names types.
    Types,
    /// A component's tasks: the index of the component, and the interface as it exports it.
    Component(usize, Box<str>),
}

/// The components that may provide imports.
pub(super) struct Exporters<'l> {
    pub(super) components: Vec<&'l Loaded>,
    /// The interfaces that they export, each once, by its name without its version: the index of the component, and
    /// the whole name. A component may have thousands, and so may those that look for them.
    by_interface: HashMap<&'l str, Vec<(usize, &'l str)>>,
}

impl<'l> Exporters<'l> {
    /// Lists the interfaces of components.
    pub(super) fn new(components: Vec<&'l Loaded>) -> Self {
        let mut by_interface: HashMap<_, Vec<_>> = HashMap::new();
        for (index, component) in components.iter().enumerate() {
            let interfaces: BTreeSet<_> = component.interfaces().collect();
            for interface in interfaces {
                by_interface.entry(split_version(interface).0).or_default().push((index, interface));
            }
        }
        Self { components, by_interface }
    }

    /// The exported interfaces with the name of an import, in all versions.
    fn of_name(&self, import: &str) -> &[(usize, &'l str)] {
        self.by_interface.get(split_version(import).0).map_or(&[], Vec::as_slice)
    }
}

/// Checks that each choice is for something that a component imports.
///
/// # Errors
///
/// The first choice that is not, and the imports.
pub(super) fn check_choices(
    importer: &str,
    imports: &[Import],
    choices: &ImportChoices,
) -> Result<(), String> {
    let used = |key: &str| imports.iter().any(|one| choices.find(&one.name).is_some_and(|(of, _)| of == key));
    let Some(unused) = choices.keys().find(|key| !used(key)) else { return Ok(()) };
    let own = imports.iter().filter(|import| !import.name.starts_with("wasi:") && !import.is_types_only());
    let known = list(own.map(|import| &*import.name));
    let known = if known.is_empty() { "nothing of other components".to_owned() } else { known };
    Err(format!(
        "`[component.{importer}.imports]` has `{unused}`, which it does not import: it imports {known}"
    ))
}

fn is_of_wasi(import: &str) -> bool {
    import.starts_with("wasi:")
}

/// Whether the runner provides an import, or nobody.
pub(super) fn is_of_host(import: &str) -> bool {
    is_of_wasi(import) || import.starts_with(host::PACKAGE)
}

/// Finds the provider of an import: the component that was chosen for it, else the importer itself, else the one
/// that the store has bound it to, else the only one that exports it.
///
/// Components that nobody has asked for by name are whatever anybody has pushed: they provide nothing for those
/// that somebody has asked for, and do not make ambiguous which of these is meant.
///
/// # Errors
///
/// The reason: no component exports it, several do, or its types differ.
pub(super) fn provider(
    import: &Import,
    importing: &Loaded,
    exporters: &Exporters<'_>,
    choices: &ImportChoices,
) -> Result<Provider, String> {
    let components = &exporters.components;
    if is_of_wasi(&import.name) {
        return Ok(Provider::Wasi);
    }
    if is_of_host(&import.name) {
        return Ok(Provider::Runner);
    }
    if import.is_types_only() {
        return Ok(Provider::Types);
    }
    let functions = functions_of_tasks(import)?;
    let importer = &*importing.name;
    let own_section = format!("[component.{importer}.imports]");
    let choice = choices.find(&import.name);
    if let Some((key, chosen)) = choice
        && !components.iter().any(|component| *component.name == *chosen)
    {
        let known = list(components.iter().map(|component| &*component.name));
        return Err(format!(
            "`{own_section}` has `{chosen}` for `{key}`, and no component is called so (known: {known})"
        ));
    }
    // Of each component the newest version that fits.
    let mut candidates: Vec<(usize, &str)> = Vec::new();
    let chosen = |name: &str| choice.is_none_or(|(_, chosen)| chosen == name);
    let version = |interface| split_version(interface).1;
    for of_one in exporters.of_name(&import.name).chunk_by(|(one, _), (other, _)| one == other) {
        let fitting = of_one.iter().filter(|(index, interface)| {
            chosen(&components[*index].name) && is_compatible(&import.name, interface)
        });
        candidates
            .extend(fitting.max_by(|(_, one), (_, other)| compare_versions(version(one), version(other))));
    }
    let own = candidates.iter().find(|(index, _)| *components[*index].name == *importer).copied();
    if let (None, None, Some(bound)) = (choice, own, choices.bound(&import.name)) {
        candidates.retain(|(index, _)| *components[*index].name == *bound);
        if candidates.is_empty() {
            return Err(format!(
                "imports `{}`, which `{bound}` provided: it is not there any more (`component push {importer} FILE \
                 --import {}=COMPONENT` chooses another)",
                import.name, import.name
            ));
        }
    } else if choice.is_none() {
        let is_named = |(index, _): &(usize, &str)| components[*index].is_named;
        if importing.is_named || candidates.iter().any(is_named) {
            candidates.retain(is_named);
        }
    }
    let own = own.as_ref();
    let (index, interface) = match (&*candidates, own, choice) {
        (_, Some(own), _) | ([own], ..) => *own,
        ([], None, Some((key, chosen))) => {
            let others = other_versions(&import.name, exporters).join(", ");
            let others = if others.is_empty() { others } else { format!(" (exported are {others})") };
            return Err(format!(
                "imports `{}`, which `{chosen}` does not export, though `{own_section}` has it for `{key}`{others}",
                import.name
            ));
        }
        ([], None, None) => {
            let others = other_versions(&import.name, exporters).join(", ");
            let hint = match others.is_empty() {
                true => "hint: add the component that does".to_owned(),
                false => format!("other versions do not fit: {others}"),
            };
            return Err(format!("imports `{}`, which no configured component exports ({hint})", import.name));
        }
        _ => {
            let names: Vec<_> = candidates
                .iter()
                .map(|(index, interface)| format!("`{interface}` of `{}`", components[*index].name))
                .collect();
            return Err(format!(
                "imports `{}`, which several components export: {} (say which in `{own_section}`: `\"{}\" = \"{}\"`)",
                import.name,
                names.join(", "),
                split_version(&import.name).0,
                components[candidates[0].0].name
            ));
        }
    };
    let exporter = components[index];
    for (function, signature) in functions {
        let imports = || format!("imports `{}.{function}`", import.name);
        let export = exporter.export(interface, function);
        let export =
            export.ok_or_else(|| format!("{}, which `{}` does not export", imports(), exporter.name))?;
        signature.is_satisfied_by(&export.signature).map_err(|difference| {
            format!("{} with other types than `{}` exports it: {difference}", imports(), exporter.name)
        })?;
    }
    Ok(Provider::Component(index, interface.into()))
}

/// Lists the functions of an import that other components have to provide, with their types.
///
/// # Errors
///
/// The reason why no component can provide it.
pub(super) fn functions_of_tasks(import: &Import) -> Result<Vec<(&str, &Signature)>, String> {
    let ImportKind::Interface { functions, has_resources } = &import.kind else {
        return Err(format!("imports `{}`, which is not an interface: nothing can provide it", import.name));
    };
    if *has_resources {
        return Err(format!("imports `{}`, which has resources: no task can provide those", import.name));
    }
    let functions = functions.iter().map(|(function, signature)| match signature {
        Ok(signature) => Ok((&**function, signature)),
        Err(reason) => Err(format!("imports `{}.{function}`, which can't be a task: {reason}", import.name)),
    });
    functions.collect()
}

/// Names the exported interfaces with the name of an import, in all versions.
fn other_versions(import: &str, exporters: &Exporters<'_>) -> Vec<String> {
    let all = exporters.of_name(import).iter();
    all.map(|(index, interface)| format!("`{interface}` of `{}`", exporters.components[*index].name))
        .collect()
}

/// A child that ended without a value, and its parent with it: a typed import has no error case.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(super) struct ChildFailed {
    /// The child; `None` if its submit was refused.
    pub(super) id: Option<InvocationId>,
    pub(super) message: String,
}

/// Defines a function of an imported interface as a call of the task `export`.
pub(super) fn define(
    linker: &mut Linker<HostState>,
    interface: &str,
    export: &Export,
) -> wasmtime::Result<()> {
    let (task, signature) = (Arc::clone(&export.id), Arc::new(export.signature.clone()));
    linker.instance(interface)?.func_new_async(&export.function, move |store, _, arguments, results| {
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
    let account = Arc::clone(&store.data().handles.account);
    let handed_over = account.hold(bytes_of(arguments))?;
    let mut text = Held::nothing(&account);
    let mut json = String::from("[");
    for (index, argument) in arguments.iter().enumerate() {
        if index > 0 {
            json.push(',');
        }
        to_charged_json(argument, &mut json, MAX_ARGUMENTS_BYTES, &mut text).map_err(
            |error| match error {
                // An error of its own, by which the failure names the limit.
                WriteError::Unpaid(exceeded) => exceeded.into(),
                error => wasmtime::Error::from(error),
            },
        )?;
    }
    json.push(']');
    let called = store.data_mut().call_child(Arc::clone(&task), json).await;
    let (id, outcome) = called.map_err(|refusal| ChildFailed {
        id: None,
        message: format!("the call of `{task}` was refused: {refusal}"),
    })?;
    drop((text, handed_over));
    let failed = |message| ChildFailed { id: Some(id), message };
    let mut held = None;
    let mut read = |json: &str, shape: &Shape| match charged_value(json, shape, "value", &account) {
        Ok((value, bytes)) => {
            held = Some(bytes);
            Ok(value)
        }
        Err(error) => Err(match error.unpaid {
            Some(exceeded) => exceeded.into(),
            None => wasmtime::Error::from(failed(format!(
                "the value of the child `{task}` ({id}) does not fit: {error}"
            ))),
        }),
    };
    let mut payload = |json: &str, shape: &Option<Box<Shape>>| {
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
        (Outcome::Failure(failure), _) => {
            let (kind, message) = (failure.kind.as_str(), &failure.message);
            return Err(failed(format!("the child `{task}` ({id}) ended as {kind}: {message}")).into());
        }
    };
    if let (Some(value), Some(result)) = (value, results.first_mut()) {
        *result = value;
    }
    store.data_mut().returned = held;
    Ok(())
}
