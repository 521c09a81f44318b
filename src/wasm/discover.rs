//! Discovery of a component's tasks and imports.

use std::sync::Arc;

use wasmtime::component::types::{ComponentExtern, ComponentFunc, ComponentInstance, ComponentItem};
use wasmtime::component::{Component, ComponentExportIndex};

use super::docs::InterfaceDocs;
use super::suggest::list;
use super::task::NotTask;
use super::values::{Field, Shape, same_shape};
use crate::model::{FunctionName, TaskId, clip, compare_versions, split_version};

/// The interface that every command-line program exports.
const WASI_RUN: &str = "wasi:cli/run";

/// The reason why a function that a tool leaves behind is no task.
const LEFT_OVER: &str = "it is a left-over of the tool that built the component";

/// The types of a function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Signature {
    /// Its parameters, in order.
    pub parameters: Vec<Field>,
    /// Its result, if it has one.
    pub result: Option<Shape>,
}

impl Signature {
    /// Takes the types of a function, and their size off `parts`. The error says why they can't travel as
    /// JSON.
    fn of(function: &ComponentFunc, parts: &mut usize) -> Result<Self, String> {
        if function.async_() {
            return Err("it is an async function".to_owned());
        }
        let parameters = function
            .params()
            .map(|(name, ty)| {
                let name = Shape::name_within(name, parts)?;
                Ok(Field { name, shape: Shape::within(&ty, parts)? })
            })
            .collect::<Result<_, String>>()?;
        let result = function.results().next().map(|ty| Shape::within(&ty, parts)).transpose()?;
        Ok(Self { parameters, result })
    }

    /// The signature of a command-line program: `func(args: list<string>) -> string`.
    fn of_command() -> Self {
        let args = Shape::List(Box::new(Shape::String));
        Self { parameters: vec![Field { name: "args".into(), shape: args }], result: Some(Shape::String) }
    }

    /// Checks that an imported function has the types of the exported one.
    ///
    /// # Errors
    ///
    /// Their first difference, with its place.
    pub(super) fn is_satisfied_by(&self, exported: &Self) -> Result<(), String> {
        let names = |signature: &Self| list(signature.parameters.iter().map(|parameter| &*parameter.name));
        let (ours, theirs) = (names(self), names(exported));
        if self.parameters.len() != exported.parameters.len()
            || !self.parameters.iter().zip(&exported.parameters).all(|(a, b)| a.name == b.name)
        {
            return Err(format!("imported with the parameters ({ours}), exported with ({theirs})"));
        }
        for (ours, theirs) in self.parameters.iter().zip(&exported.parameters) {
            same_shape(&ours.shape, &theirs.shape)
                .map_err(|difference| format!("{}{difference}", ours.name))?;
        }
        match (&self.result, &exported.result) {
            (Some(ours), Some(theirs)) => {
                same_shape(ours, theirs).map_err(|difference| format!("the result{difference}"))
            }
            (None, None) => Ok(()),
            (Some(ours), None) => {
                Err(format!("the result: imported as {}, exported without one", ours.name()))
            }
            (None, Some(theirs)) => {
                Err(format!("the result: imported without one, exported as {}", theirs.name()))
            }
        }
    }
}

/// The way in which a task is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entry {
    /// With its arguments, for its result.
    Function,
    /// As a command-line program: by `run` of `wasi:cli/run`, with the program's arguments, for its standard
    /// output.
    Command,
}

/// An exported function that is a task.
#[derive(Clone)]
pub(super) struct Export {
    /// The task's full id.
    pub id: Arc<str>,
    /// The interface as it is exported, with its version; `None` at the root.
    pub interface: Option<Box<str>>,
    /// The function's name.
    pub function: Box<str>,
    pub entry: Entry,
    /// Its types; for a command those of the task, not of the function.
    pub signature: Signature,
    /// The names that its interface has for types.
    pub types: Arc<[Field]>,
    /// The component's documentation of its interface.
    pub docs: Arc<InterfaceDocs>,
}

impl Export {
    /// The version of its interface.
    pub(super) fn version(&self) -> Option<&str> {
        split_version(self.interface.as_deref()?).1
    }
}

/// An import of a component.
#[derive(Debug, Clone)]
pub(super) struct Import {
    /// Its name, with its version.
    pub name: Box<str>,
    pub kind: ImportKind,
}

/// The kinds of import.
#[derive(Debug, Clone)]
pub(super) enum ImportKind {
    Interface {
        /// The functions that the component uses, with their types or the reason why those can't travel as
        /// JSON.
        functions: Vec<(Box<str>, Result<Signature, String>)>,
        /// Whether it has resources.
        has_resources: bool,
    },
    /// A function at the root.
    Function,
    /// A type at the root. Nobody needs to provide it.
    Type,
    /// A module, a component or a resource at the root.
    Other,
}

impl Import {
    /// The functions of an interface that the component uses.
    pub(super) fn functions(&self) -> impl Iterator<Item = &str> {
        let functions: &[_] =
            if let ImportKind::Interface { functions, .. } = &self.kind { functions } else { &[] };
        functions.iter().map(|(name, _)| &**name)
    }

    /// Whether it only names types, so that nobody needs to provide it.
    pub(super) fn is_types_only(&self) -> bool {
        match &self.kind {
            ImportKind::Interface { functions, has_resources } => functions.is_empty() && !has_resources,
            ImportKind::Type => true,
            ImportKind::Function | ImportKind::Other => false,
        }
    }
}

/// The most parts of all types of a component together: in a small file many functions can take a type that
/// is large when written out.
const MAX_PARTS: usize = 200_000;

/// The most functions of a component that are looked at.
const MAX_FUNCTIONS: usize = 10_000;

/// The most functions and types of all interfaces that a component imports. In a small file many imports can have one
/// type of a thousand functions, and each function is linked for each import. All of WASI has a few hundred.
const MAX_IMPORTED: usize = 2_000;

/// The most functions and types of all interfaces that a component exports, tasks or not.
const MAX_EXPORTED: usize = 100_000;

/// The most bytes of the name of an interface or a function. They are copied into the id of each task.
const MAX_NAME: usize = 1024;

/// The exports and imports of a component.
#[derive(Default)]
pub(super) struct Discovery {
    /// The tasks, sorted by id; no two have the same.
    pub exports: Vec<Export>,
    /// The functions that are not tasks, sorted by id.
    pub rejected: Vec<NotTask>,
    /// The imports, in the component's order.
    pub imports: Vec<Import>,
    /// The parts of types that are left to take.
    parts: usize,
    /// Functions beyond the bound.
    left_out: usize,
}

/// Lists the exports and imports of a component, which is called `name` in the configuration.
///
/// # Errors
///
/// The bound that it exceeds, as a sentence about `it`.
pub(super) fn discover(component: &Component, name: &Arc<str>) -> Result<Discovery, String> {
    let mut discovery = Discovery { parts: MAX_PARTS, ..Discovery::default() };
    let engine = component.engine();
    let ty = component.component_type();
    check_size("imports", component, ty.imports(engine), MAX_IMPORTED)?;
    check_size("exports", component, ty.exports(engine), MAX_EXPORTED)?;
    let at_root: Vec<_> = ty.exports(engine).chain(ty.imports(engine)).collect();
    let types = named_types(at_root.iter().map(|(name, item)| (*name, &item.ty)));
    let root = Place { component, name, interface: None, instance: None, types };
    for (export, item) in ty.exports(engine) {
        match item.ty {
            ComponentItem::ComponentFunc(function) => discovery.add(&root, export, &function),
            ComponentItem::ComponentInstance(instance) => {
                let Some(index) = component.get_export_index(None, export) else { continue };
                let items: Vec<_> = instance.exports(engine).collect();
                let types = named_types(items.iter().map(|(name, item)| (*name, &item.ty)));
                let place = Place { component, name, interface: Some(export), instance: Some(&index), types };
                for (function_name, item) in items {
                    if let ComponentItem::ComponentFunc(function) = item.ty {
                        discovery.add(&place, function_name, &function);
                    }
                }
            }
            // Types, and modules that nobody can call.
            _ => {}
        }
    }
    discovery.settle(name);
    let parts = &mut discovery.parts;
    let mut kind = |item| match item {
        ComponentItem::ComponentFunc(_) => ImportKind::Function,
        ComponentItem::ComponentInstance(instance) => imported_interface(component, &instance, parts),
        ComponentItem::Type(_) => ImportKind::Type,
        _ => ImportKind::Other,
    };
    discovery.imports =
        ty.imports(engine).map(|(name, item)| Import { name: name.into(), kind: kind(item.ty) }).collect();
    Ok(discovery)
}

/// A place at which functions are exported.
struct Place<'a> {
    component: &'a Component,
    /// The name of the component.
    name: &'a Arc<str>,
    /// `None` at the root.
    interface: Option<&'a str>,
    instance: Option<&'a ComponentExportIndex>,
    /// The names of types there.
    types: Arc<[Field]>,
}

fn named_types<'t>(items: impl Iterator<Item = (&'t str, &'t ComponentItem)>) -> Arc<[Field]> {
    let types = items.filter_map(|(name, item)| match item {
        ComponentItem::Type(ty) => Some((name, ty.clone())),
        _ => None,
    });
    Shape::named(types).into()
}

/// Whether a function is the entry of a tool's own build step, which the tool leaves behind: of
/// componentize-py in the interface `exports`, of componentize-qjs at the root.
fn is_left_over(interface: Option<&str>, name: &str, function: &ComponentFunc) -> bool {
    let parameters = ["shim", "script", "entry-path", "disable-gc"];
    let is_qjs = || function.params().map(|(name, _)| name).eq(parameters);
    name == "init" && (interface == Some("exports") || interface.is_none() && is_qjs())
}

/// Checks that the interfaces of a component have no more functions and types together than `most`.
fn check_size<'c>(
    direction: &str,
    component: &Component,
    items: impl Iterator<Item = (&'c str, ComponentExtern<'c>)>,
    most: usize,
) -> Result<(), String> {
    let mut left = most;
    for (_, item) in items {
        let count = match item.ty {
            ComponentItem::ComponentInstance(instance) => instance.exports(component.engine()).len(),
            _ => 1,
        };
        left = left.checked_sub(count).ok_or_else(|| {
            format!("it {direction} more than the {most} functions and types that a component may have there")
        })?;
    }
    Ok(())
}

fn imported_interface(component: &Component, instance: &ComponentInstance, parts: &mut usize) -> ImportKind {
    let mut functions = Vec::new();
    let mut has_resources = false;
    for (name, item) in instance.exports(component.engine()) {
        match item.ty {
            ComponentItem::ComponentFunc(function) => {
                functions.push((name.into(), Signature::of(&function, parts)))
            }
            ComponentItem::Resource(_) => has_resources = true,
            _ => {}
        }
    }
    ImportKind::Interface { functions, has_resources }
}

impl Discovery {
    /// Adds an exported function: as a task, or with the reason why it is none.
    fn add(&mut self, place: &Place<'_>, name: &str, function: &ComponentFunc) {
        if self.exports.len() + self.rejected.len() >= MAX_FUNCTIONS {
            self.left_out += 1;
            return;
        }
        if let Some(long) =
            [name, place.interface.unwrap_or_default()].into_iter().find(|n| n.len() > MAX_NAME)
        {
            let id = format!("{}::{}", place.name, clip(long, 80));
            let reason = format!("its name has {} bytes, more than {MAX_NAME}", long.len());
            return self.rejected.push(NotTask { id, component: Arc::clone(place.name), reason });
        }
        let interface = place.interface.map(|interface| split_version(interface).0);
        let is_command = interface == Some(WASI_RUN) && name == "run";
        let (entry, id_of) =
            if is_command { (Entry::Command, None) } else { (Entry::Function, place.interface) };
        let signature = match interface {
            _ if is_command => Ok(Signature::of_command()),
            _ if is_left_over(interface, name, function) => Err(LEFT_OVER.to_owned()),
            Some(wasi) if wasi.starts_with("wasi:") => {
                Err(format!("`{wasi}` is an interface between programs and hosts"))
            }
            _ if name.starts_with('[') => Err("it belongs to a resource".to_owned()),
            _ => Signature::of(function, &mut self.parts),
        };
        let index = place.component.get_export_index(place.instance, name);
        let found = index.ok_or_else(|| "it can't be found by its name".to_owned());
        let function_name = FunctionName::exported(id_of, name);
        let id = TaskId { component: place.name, function: function_name }.to_string();
        match signature.and_then(|signature| found.map(|_| signature)) {
            Ok(signature) => self.exports.push(Export {
                id: id.into(),
                interface: place.interface.map(Into::into),
                function: name.into(),
                entry,
                signature,
                types: Arc::clone(&place.types),
                docs: Arc::default(),
            }),
            Err(reason) => self.rejected.push(NotTask { id, component: Arc::clone(place.name), reason }),
        }
    }

    /// Sorts, and leaves one task for each id: that of the highest version on its track.
    fn settle(&mut self, component: &Arc<str>) {
        self.exports.sort_by(|a, b| a.id.cmp(&b.id).then_with(|| compare_versions(b.version(), a.version())));
        let from = |export: &Export| match &export.interface {
            Some(interface) => format!("`{interface}`"),
            None => "the component's root".to_owned(),
        };
        self.exports.dedup_by(|export, first| {
            let is_same = export.id == first.id;
            if is_same {
                let reason = format!("{} has the same task in place of {}", from(first), from(export));
                let (id, component) = (export.id.to_string(), Arc::clone(component));
                self.rejected.push(NotTask { id, component, reason });
            }
            is_same
        });
        self.rejected.sort_by(|a, b| a.id.cmp(&b.id));
        if self.left_out > 0 {
            let id = format!("{component}::…");
            let reason = format!("{} more functions: a component has at most {MAX_FUNCTIONS}", self.left_out);
            self.rejected.push(NotTask { id, component: Arc::clone(component), reason });
        }
    }
}

#[cfg(test)]
mod tests {
    use wasmtime::Engine;

    use super::*;
    use crate::model::is_compatible;
    use crate::wasm::testing::{TestImport, component, function};
    use crate::wasm::values::Case;

    fn discovered(
        imports: &[TestImport],
        root: &[crate::wasm::testing::TestFunction],
        interfaces: &[(&str, Vec<crate::wasm::testing::TestFunction>)],
    ) -> Discovery {
        let bytes = component(imports, root, interfaces);
        discover(&Component::new(&Engine::default(), bytes).unwrap(), &"COMP".into()).unwrap()
    }

    #[test]
    fn the_functions_that_a_component_imports_are_bounded() {
        let imports = |count| {
            let functions = || (0..count).map(|n| function(format!("f{n}").leak(), [], None)).collect();
            let names = ["acme:math/ops@1.0.0", "wasi:math/ops@1.0.0"];
            let bytes =
                component(&names.map(|name| TestImport::Interface(name, functions(), true)), &[], &[]);
            discover(&Component::new(&Engine::default(), bytes).unwrap(), &"COMP".into())
        };
        assert_eq!(imports(300).unwrap().imports.len(), 2);
        let expected = "it imports more than the 2000 functions and types that a component may have there";
        assert_eq!(imports(1_001).err().as_deref(), Some(expected));
    }

    fn ids(discovery: &Discovery) -> Vec<&str> {
        discovery.exports.iter().map(|export| &*export.id).collect()
    }

    #[test]
    fn a_function_with_a_very_long_name_is_no_task() {
        let long: &'static str = "n".repeat(2_000).leak();
        let function_of = |name: &'static str| function(name, [("p", Shape::U8)], None);
        let found = discovered(&[], &[function_of(&long[..1_025]), function_of(&long[..1_024])], &[]);
        assert_eq!(found.exports.len(), 1);
        assert_eq!(found.rejected[0].reason, "its name has 1025 bytes, more than 1024");
        assert!(found.rejected[0].id.len() < 200);
    }

    #[test]
    fn more_functions_than_a_component_may_have_are_left_out() {
        let names: Vec<&'static str> = (0..MAX_FUNCTIONS + 7).map(|n| &*format!("f{n}").leak()).collect();
        let functions: Vec<_> = names.iter().map(|name| function(name, [], None)).collect();
        let found = discovered(&[], &functions, &[]);
        assert_eq!(found.exports.len(), MAX_FUNCTIONS);
        assert_eq!(found.rejected.len(), 1);
        assert_eq!(found.rejected[0].reason, "7 more functions: a component has at most 10000");
    }

    #[test]
    fn every_exported_function_is_a_task() {
        let colour = Shape::Enum(["red".into()].into());
        let failed = Shape::Result { ok: None, err: Some(Box::new(Shape::String)) };
        let discovery = discovered(
            &[],
            &[function("hello", [], None)],
            &[
                (
                    "acme:demo/tasks@1.2.3",
                    vec![
                        function("greet", [("name", Shape::String)], Shape::String),
                        function("paint", [("with", colour.clone()), ("times", Shape::U32)], failed),
                    ],
                ),
                ("tasks", vec![function("add", [("a", Shape::S32), ("b", Shape::S32)], Shape::S32)]),
            ],
        );
        assert_eq!(
            ids(&discovery),
            [
                "COMP::acme:demo/tasks@1.greet",
                "COMP::acme:demo/tasks@1.paint",
                "COMP::hello",
                "COMP::tasks.add"
            ]
        );
        assert!(discovery.rejected.is_empty());
        let paint = &discovery.exports[1];
        assert_eq!(paint.interface.as_deref(), Some("acme:demo/tasks@1.2.3"));
        assert_eq!(paint.version(), Some("1.2.3"));
        assert_eq!(&*paint.function, "paint");
        assert_eq!(paint.signature.parameters[0], Field { name: "with".into(), shape: colour });
        assert_eq!(discovery.exports[2].signature, Signature { parameters: vec![], result: None });
    }

    #[test]
    fn a_program_is_one_task_and_other_wasi_interfaces_are_none() {
        let status = Shape::Result { ok: None, err: None };
        let discovery = discovered(
            &[],
            &[],
            &[
                ("wasi:cli/run@0.2.6", vec![function("run", [], status)]),
                ("wasi:http/incoming-handler@0.2.6", vec![function("handle", [], None)]),
                ("exports", vec![function("init", [], None)]),
            ],
        );
        assert_eq!(ids(&discovery), ["COMP::run"]);
        let run = &discovery.exports[0];
        assert_eq!((run.entry, &run.signature), (Entry::Command, &Signature::of_command()));
        let rejected: Vec<_> = discovery.rejected.iter().map(|r| (&*r.id, &*r.reason)).collect();
        assert_eq!(
            rejected,
            [
                ("COMP::exports.init", "it is a left-over of the tool that built the component"),
                (
                    "COMP::wasi:http/incoming-handler@0.2.handle",
                    "`wasi:http/incoming-handler` is an interface between programs and hosts"
                ),
            ]
        );
    }

    #[test]
    fn what_a_tool_left_behind_is_no_task_and_what_looks_like_it_is() {
        let option = Shape::Option(Box::new(Shape::String));
        let init = |last| {
            let parameters = [
                ("shim", Shape::String),
                ("script", Shape::String),
                ("entry-path", option.clone()),
                (last, Shape::Bool),
            ];
            discovered(&[], &[function("init", parameters, None)], &[])
        };
        let left_over = init("disable-gc");
        assert_eq!(ids(&left_over), [""; 0]);
        assert_eq!((&*left_over.rejected[0].id, &*left_over.rejected[0].reason), ("COMP::init", LEFT_OVER));
        assert_eq!(ids(&init("verbose")), ["COMP::init"]);
    }

    #[test]
    fn of_the_versions_on_a_track_the_highest_is_the_task() {
        let add = || vec![function("add", [("a", Shape::U8)], None)];
        let discovery = discovered(
            &[],
            &[],
            &[
                ("acme:demo/ops@1.9.0", add()),
                ("acme:demo/ops@1.10.0", add()),
                ("acme:demo/ops@0.9.0", add()),
            ],
        );
        assert_eq!(ids(&discovery), ["COMP::acme:demo/ops@0.9.add", "COMP::acme:demo/ops@1.add"]);
        assert_eq!(discovery.exports[1].version(), Some("1.10.0"));
        assert_eq!(discovery.rejected.len(), 1);
        assert_eq!(
            discovery.rejected[0].reason,
            "`acme:demo/ops@1.10.0` has the same task in place of `acme:demo/ops@1.9.0`"
        );
    }

    #[test]
    fn imports_are_listed_with_their_types() {
        let case = Case { name: "a".into(), payload: Some(Shape::U8) };
        let add = || function("add", [("a", Shape::Variant([case.clone()].into()))], Shape::S32);
        let discovery = discovered(
            &[
                TestImport::Interface("acme:math/ops@1.0.0", vec![add()], true),
                TestImport::Interface("acme:math/types@1.0.0", vec![], true),
                TestImport::Function(function("log", [("text", Shape::String)], None)),
            ],
            &[],
            &[("acme:math/ops@1.2.0", vec![add()])],
        );
        let names: Vec<_> = discovery.imports.iter().map(|i| (&*i.name, i.is_types_only())).collect();
        assert_eq!(names, [("acme:math/ops@1.0.0", false), ("acme:math/types@1.0.0", true), ("log", false)]);
        let ImportKind::Interface { functions, has_resources: false } = &discovery.imports[0].kind else {
            panic!()
        };
        let (name, signature) = &functions[0];
        assert_eq!(&**name, "add");
        assert_eq!(signature.as_ref().unwrap().is_satisfied_by(&discovery.exports[0].signature), Ok(()));
        assert!(is_compatible(
            &discovery.imports[0].name,
            discovery.exports[0].interface.as_deref().unwrap()
        ));
        assert!(matches!(&discovery.imports[2].kind, ImportKind::Function));
    }

    #[test]
    fn signatures_that_differ_say_where() {
        let signature = |parameters: &[(&str, Shape)], result: Option<Shape>| Signature {
            parameters: parameters
                .iter()
                .map(|(name, s)| Field { name: (*name).into(), shape: s.clone() })
                .collect(),
            result,
        };
        let list = |shape| Shape::List(Box::new(shape));
        let ours = signature(&[("points", list(Shape::U8))], Some(Shape::U8));
        let differ = |theirs: &Signature| ours.is_satisfied_by(theirs).unwrap_err();
        assert_eq!(
            differ(&signature(&[("points", list(Shape::U16))], Some(Shape::U8))),
            "points[]: imported as u8, exported as u16"
        );
        assert_eq!(
            differ(&signature(&[("points", list(Shape::U8))], Some(Shape::S8))),
            "the result: imported as u8, exported as s8"
        );
        assert_eq!(
            differ(&signature(&[("points", list(Shape::U8))], None)),
            "the result: imported as u8, exported without one"
        );
        assert_eq!(
            differ(&signature(&[("a", Shape::U8), ("b", Shape::U8)], None)),
            "imported with the parameters (`points`), exported with (`a`, `b`)"
        );
    }
}
