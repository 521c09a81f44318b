//! Components linked with everything that they import, and their tasks.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use wasmtime::component::{Component, Linker};

use super::code::Link;
use super::discover::{Export, Import};
use super::engine::{CORE_INSTANCES_PER_WEIGHT, MAX_MEMORIES, MAX_TABLES, Room, TABLES_PER_WEIGHT};

use super::execute::Program;
use super::host::HostState;
use super::link::{self, Exporters, Provider};
use super::loaded::Loaded;
use super::names::Names;
use super::source::{ComponentSource, LoadError};
use super::submits::{KnownNames, Submits};
use super::task::{NotTask, Parameter, Task};
use super::values::{Field, Shape};
use super::{host, network, rules};
use crate::model::{ComponentDigest, Interrupt, RetryPolicy, TaskId, TaskOptions};

/// A task with everything that its attempts need.
pub(super) struct LinkedTask {
    pub(super) program: Arc<Program>,
    pub(super) weight: usize,
    pub(super) retry: Arc<RetryPolicy>,
}

/// A component with everything that it imports.
#[derive(Default)]
pub(super) struct Linked {
    pub(super) programs: HashMap<Arc<str>, Arc<LinkedTask>>,
    pub(super) tasks: Vec<Task>,
    pub(super) not_tasks: Vec<NotTask>,
    /// The components that provide something for it.
    providers: Vec<ProvidedBy>,
}

/// A component that provides an import: the import, its name, digest and interface.
type ProvidedBy = (Box<str>, Arc<str>, ComponentDigest, Box<str>);

impl Linked {
    /// Whether linking would come to the same again: the same bytes provide the same imports.
    pub(super) fn is_as_now(&self, one: &Loaded, source: &ComponentSource, all: &Exporters<'_>) -> bool {
        let mut now = Vec::new();
        for import in &one.discovery.imports {
            match link::provider(import, one, all, &source.imports) {
                Ok(Provider::Component(index, interface)) => {
                    let provider = all.components[index];
                    now.push((import.name.clone(), Arc::clone(&provider.name), provider.digest, interface));
                }
                Ok(Provider::Wasi | Provider::Runner | Provider::Types) => {}
                Err(_) => return false,
            }
        }
        now == self.providers
    }
}

/// Links a component with those that it imports, which are among `all`. It is one of them itself.
pub(super) fn link_one(
    one: &Loaded,
    source: &ComponentSource,
    all: &Exporters<'_>,
    known: &Arc<KnownNames>,
    room: Room,
) -> Result<Linked, Vec<LoadError>> {
    let names = &*known.now();
    let submits = Submits::new(source.grants.may_submit.as_ref(), known);
    let mut linked = Linked::default();
    let mut errors = Vec::new();
    // The tasks behind its imports, by import.
    let mut children = Vec::new();
    if let Err(message) = link::check_choices(&one.name, &one.discovery.imports, &source.imports) {
        errors.push(one.error(message));
    }
    for import in &one.discovery.imports {
        match link::provider(import, one, all, &source.imports) {
            Err(message) => errors.push(one.error(message)),
            Ok(Provider::Wasi | Provider::Runner | Provider::Types) => {}
            Ok(Provider::Component(index, interface)) => {
                let provider = all.components[index];
                linked.providers.push((
                    import.name.clone(),
                    Arc::clone(&provider.name),
                    provider.digest,
                    interface.clone(),
                ));
                for export in import.functions().filter_map(|name| provider.export(&interface, name)) {
                    let id = &export.id;
                    if !submits.allows(id, names) {
                        errors.push(one.error(format!("imports `{id}`, and `may-submit` does not name it")));
                    }
                    children.push((import.name.clone(), export.clone()));
                }
            }
        }
    }
    let weight = weight(one, room.weight_of(source.grants.descriptors())).unwrap_or_else(|message| {
        errors.push(one.error(message));
        1
    });
    let mut options = task_options(one, source, names);
    for export in one.exports() {
        let options = options.get(&export.id).unwrap_or(&source.defaults);
        let cases = check_cases(export, &options.retry, &source.defaults.retry);
        let wrong = [cases, rules::check(export, &options.rules)].into_iter().filter_map(Result::err);
        errors.extend(wrong.map(|message| one.error(message)));
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    let wants_http = wants_http(one);
    let functions = one.exports().iter().map(|export| (export.interface.clone(), export.function.clone()));
    let link = Link::new(
        &one.code,
        functions.collect(),
        Box::new(move |component| linker(component, wants_http, &children)?.instantiate_pre(component)),
    );
    let link = link.map_err(|error| vec![one.error(error.to_string())])?;
    linked.not_tasks.clone_from(&one.discovery.rejected);
    let denial_lines = Arc::default();
    for (place, export) in one.discovery.exports.iter().enumerate() {
        let mut options = options.remove(&export.id).unwrap_or_else(|| source.defaults.clone());
        if options.retry.returned_cases.is_some() && error_cases(export).is_none() {
            // The JSON of a string can look like a case.
            Arc::make_mut(&mut options.retry).returned_cases = Some(Arc::from([]));
        }
        let program = Arc::new(Program {
            component: Arc::clone(&one.name),
            engine: one.code.engine.clone(),
            is_metered: source.wants_fuel(),
            link: Arc::clone(&link),
            state_bytes: one.contents.state_bytes,
            place,
            export: export.clone(),
            grants: source.grants.clone(),
            section_note: source.section_note.clone(),
            scrubber: OnceLock::new(),
            submits: submits.clone(),
            denial_lines: Arc::clone(&denial_lines),
            limits: options.limits.clone(),
            priority: options.priority,
        });
        let retry = Arc::clone(&options.retry);
        let own = LinkedTask { program, weight, retry };
        linked.programs.insert(Arc::clone(&export.id), Arc::new(own));
        linked.tasks.push(task(one, export, options));
    }
    Ok(linked)
}

/// Makes a linker with everything that a component may import.
fn linker(
    component: &Component,
    wants_http: bool,
    children: &[(Box<str>, Export)],
) -> wasmtime::Result<Linker<HostState>> {
    let mut linker = Linker::new(component.engine());
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    host::add_to_linker(&mut linker)?;
    network::add_sockets_to_linker(&mut linker)?;
    if wants_http {
        network::add_http_to_linker(&mut linker)?;
    }
    for (import, export) in children {
        link::define(&mut linker, import, export)?;
    }
    Ok(linker)
}

/// Checks that a component can be linked as soon as other components provide what it needs of them.
///
/// # Errors
///
/// The first reason why it can't, whatever other components there are.
pub(super) fn check_linkable(one: &Loaded) -> Result<(), String> {
    weight(one, 1)?;
    let own = |import: &&Import| !link::is_of_host(&import.name) && !import.is_types_only();
    let component = one.code.component(&Interrupt::default()).map_err(|error| error.to_string())?;
    let link = || -> wasmtime::Result<Result<(), String>> {
        let mut linker = linker(&component, wants_http(one), &[])?;
        for import in one.discovery.imports.iter().filter(own) {
            let functions = match link::functions_of_tasks(import) {
                Ok(functions) => functions,
                Err(reason) => return Ok(Err(reason)),
            };
            let mut interface = linker.instance(&import.name)?;
            for (function, _) in functions {
                interface.func_new(function, |_, _, _, _| Ok(()))?;
            }
        }
        linker.instantiate_pre(&component).map(|_| Ok(()))
    };
    link().unwrap_or_else(|error| Err(error.to_string()))
}

fn wants_http(one: &Loaded) -> bool {
    one.discovery.imports.iter().any(|import| import.name.starts_with("wasi:http/"))
}

/// Makes the options of each task of this component that a section is for: of several sections, the more
/// exact is put over the less exact. Sections that name no task are found by whoever knows their place in the
/// configuration.
fn task_options(one: &Loaded, source: &ComponentSource, names: &Names) -> HashMap<Arc<str>, TaskOptions> {
    let known =
        source.tasks.iter().filter_map(|section| Some((section, names.matching(&section.name).ok()?)));
    let mut known: Vec<_> = known.collect();
    known.sort_by(|(a, first), (b, second)| (first.exactness, &a.name).cmp(&(second.exactness, &b.name)));
    let mut options = HashMap::new();
    for (section, found) in known {
        for id in found.ids.into_iter().filter(|id| TaskId::split(id).0 == Some(&one.name)) {
            let base = options.get(id).unwrap_or(&source.defaults);
            let over = section.options.over(base);
            options.insert(Arc::clone(id), over);
        }
    }
    options
}

/// The cases of the error that a task returns; `None` if its error type has none.
fn error_cases(export: &Export) -> Option<Vec<&str>> {
    let Some(Shape::Result { err: Some(error), .. }) = &export.signature.result else { return None };
    match &**error {
        Shape::Enum(cases) => Some(cases.iter().map(|case| &**case).collect()),
        Shape::Variant(cases) => Some(cases.iter().map(|case| &*case.name).collect()),
        _ => None,
    }
}

/// Checks that a task can return the cases that its own section lists. The component's list is for all of its
/// tasks, and may not be for this one.
fn check_cases(export: &Export, retry: &RetryPolicy, of_component: &RetryPolicy) -> Result<(), String> {
    let Some(cases) = retry.returned_cases.as_deref().filter(|cases| !cases.is_empty()) else {
        return Ok(());
    };
    if retry.returned_cases == of_component.returned_cases {
        return Ok(());
    }
    let Some(known) = error_cases(export) else {
        return Err(format!(
            "`cases` for the retries of `{}`: its error is no enum or variant, so it has no cases",
            export.id
        ));
    };
    let Some(unknown) = cases.iter().find(|case| !known.contains(&&***case)) else { return Ok(()) };
    let known: Vec<_> = known.iter().map(|case| format!("`{case}`")).collect();
    Err(format!(
        "`cases` for the retries of `{}`: its error has no case `{unknown}` (known: {})",
        export.id,
        known.join(", ")
    ))
}

/// The number of live instances that one instance counts for: pools are sized for guests with one memory. It is
/// `of_descriptors` at least.
fn weight(one: &Loaded, of_descriptors: usize) -> Result<usize, String> {
    let needs = one.needs.as_ref().ok_or("it imports core modules, which nothing can provide")?;
    if needs.num_memories > MAX_MEMORIES || needs.num_tables > MAX_TABLES {
        return Err(format!(
            "it needs {} memories and {} tables, more than the {MAX_MEMORIES} and {MAX_TABLES} that an instance may have",
            needs.num_memories, needs.num_tables
        ));
    }
    let tables = needs.num_tables.div_ceil(TABLES_PER_WEIGHT);
    let instances = one.contents.core_instances.div_ceil(CORE_INSTANCES_PER_WEIGHT);
    Ok(of_descriptors.max(needs.num_memories.max(tables).max(instances) as usize))
}

/// Describes a task of a component, with its options.
pub(super) fn task(one: &Loaded, export: &Export, options: TaskOptions) -> Task {
    let parameter = |parameter: &Field| Parameter {
        name: parameter.name.to_string(),
        type_name: parameter.shape.to_string(),
    };
    Task {
        id: Arc::clone(&export.id),
        component: Arc::clone(&one.name),
        digest: one.digest,
        parameters: export.signature.parameters.iter().map(parameter).collect(),
        result: export.signature.result.as_ref().map(ToString::to_string),
        docs: export.docs.function(&export.function).map(str::to_owned),
        options,
    }
}
