//! The interfaces of tasks as WIT text, so that other components can import them.
//!
//! An interface is written so that it stands alone, with types from elsewhere written out. That is enough to
//! import it, since components compare types by their structure.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::cache::Cache;
use super::compile::Compiler;
use super::discover::Export;
use super::docs::InterfaceDocs;
use super::engine::new_engine;
use super::loaded::{Loaded, in_parallel, load_one, names_of};
use super::names::Names;
use super::source::{ComponentSource, LoadError, load_error};
use super::suggest::list;
use super::task::ResolveError;
use super::values::{Case, Field, Shape};
use crate::model::{Interrupt, is_compatible, split_version};

/// Keywords of WIT, which are names only with `%` before them.
const KEYWORDS: &str = "\
    as async bool borrow char constructor enum error-context export f32 f64 flags from func future import include \
    interface list map option own package record resource result s16 s32 s64 s8 static stream string tuple type u16 \
    u32 u64 u8 use variant with world";

/// An interface with tasks in it.
#[derive(Debug, Clone)]
pub struct Interface {
    /// The component that exports it.
    pub component: Arc<str>,
    /// Whether the configuration names that component: then it is meant, whatever else is pushed.
    pub is_named: bool,
    /// `namespace:package`; `None` if it was written within a world, so that nobody else can import it.
    pub package: Option<String>,
    /// Its name in the package.
    pub name: String,
    /// The version of the package.
    pub version: Option<String>,
    /// `interface NAME { … }` in WIT.
    pub text: String,
}

impl Interface {
    /// Its name in an import: `namespace:package/name@version`.
    pub fn import(&self) -> String {
        let package = self.package.as_ref().map(|package| format!("{package}/")).unwrap_or_default();
        let version = self.version.as_ref().map(|version| format!("@{version}")).unwrap_or_default();
        format!("{package}{}{version}", self.name)
    }
}

/// The interfaces of some components.
#[derive(Debug, Default)]
pub struct Interfaces {
    all: Vec<Interface>,
    /// The interface that each task is in; none for one at the root.
    tasks: BTreeMap<Arc<str>, Option<usize>>,
    names: Names,
}

impl Interfaces {
    /// Reads the components without linking them, since their imports may not exist yet. Returns also the
    /// errors of those that can't be read.
    pub fn load(
        sources: &[ComponentSource],
        cache_directory: Option<&Path>,
        compiler: Compiler,
    ) -> (Self, Vec<LoadError>) {
        let engine = match new_engine(1, false) {
            Ok(engine) => engine,
            Err(message) => return (Self::default(), vec![load_error("*", Path::new("*"), message)]),
        };
        let (cache, never) = (Cache::new(cache_directory, compiler), Interrupt::default());
        let loaded = in_parallel(sources, |source| {
            let (locked, path) = (source.locked.first(), &source.path);
            let loaded = load_one(&engine, false, &source.name, path, locked, &cache, &never)?;
            Ok(Loaded { is_named: !source.may_be_left_out, ..loaded })
        });
        let mut errors = Vec::new();
        let loaded = loaded.into_iter().filter_map(|one| one.map_err(|error| errors.push(error)).ok());
        let loaded: Vec<_> = loaded.collect();
        let mut interfaces = Self { names: names_of(&loaded), ..Self::default() };
        loaded.iter().for_each(|one| interfaces.add(&one.name, one.is_named, one.exports()));
        (interfaces, errors)
    }

    fn add(&mut self, component: &Arc<str>, is_named: bool, exports: &[Export]) {
        let mut by_interface: BTreeMap<&str, Vec<&Export>> = BTreeMap::new();
        for export in exports {
            match export.interface.as_deref() {
                // Every host has the interface of a program.
                Some(interface) if !interface.starts_with("wasi:") => {
                    by_interface.entry(interface).or_default().push(export);
                }
                _ => drop(self.tasks.insert(Arc::clone(&export.id), None)),
            }
        }
        for (interface, exports) in by_interface {
            let (path, version) = split_version(interface);
            let (package, name) = match path.split_once('/') {
                Some((package, name)) => (Some(package.to_owned()), name),
                None => (None, path),
            };
            for export in &exports {
                self.tasks.insert(Arc::clone(&export.id), Some(self.all.len()));
            }
            self.all.push(Interface {
                component: Arc::clone(component),
                is_named,
                package,
                name: name.to_owned(),
                version: version.map(str::to_owned),
                text: text_of(name, &exports),
            });
        }
    }

    /// The interfaces of all components.
    pub fn all(&self) -> &[Interface] {
        &self.all
    }

    /// The interface of a task; none for a task at its component's root.
    ///
    /// # Errors
    ///
    /// [`ResolveError`] with the candidates.
    pub fn of_task(&self, name: &str) -> Result<Option<&Interface>, ResolveError> {
        let id = self.names.resolve(name, None).map_err(|message| ResolveError { message })?;
        Ok(self.tasks.get(id).copied().flatten().and_then(|index| self.all.get(index)))
    }

    /// Finds the provider of an import `namespace:package/name@version`: the component that was `chosen` for
    /// it, if one was, or else any, if all exporters export the same. If the configuration names one of them, those are
    /// meant that it names: nobody stops the builds of others by a push.
    ///
    /// # Errors
    ///
    /// The reason: nobody exports it, or several export different ones.
    pub fn provider(&self, import: &str, chosen: Option<&str>) -> Result<&Interface, String> {
        let fits = |interface: &&Interface| {
            is_compatible(import, &interface.import())
                && chosen.is_none_or(|chosen| *interface.component == *chosen)
        };
        let mut fitting: Vec<_> = self.all.iter().filter(fits).collect();
        if fitting.iter().any(|one| one.is_named) {
            fitting.retain(|one| one.is_named);
        }
        fitting.dedup_by(|b, a| (&a.text, &a.version) == (&b.text, &b.version));
        let shown = |interfaces: &[&Interface]| {
            let names = interfaces.iter().map(|one| format!("`{}` of `{}`", one.import(), one.component));
            names.collect::<Vec<_>>().join(", ")
        };
        match *fitting {
            [interface] => Ok(interface),
            [] => {
                let name = split_version(import).0;
                let of_name = |interface: &&Interface| split_version(&interface.import()).0 == name;
                let others: Vec<_> = self.all.iter().filter(of_name).collect();
                let known: Vec<_> = self.all.iter().map(Interface::import).collect();
                let hint = match (&*others, &*known) {
                    ([], []) => String::new(),
                    ([], _) => format!(" (exported are {})", list(known.iter().map(|known| &**known))),
                    _ => format!(": other versions do not fit: {}", shown(&others)),
                };
                Err(format!("no component exports `{import}`{hint}"))
            }
            _ => Err(format!(
                "several components export `{import}`, and not the same: {} (`[component.NAME.imports]` says which)",
                shown(&fitting)
            )),
        }
    }
}

/// `interface name { … }`
fn text_of(name: &str, exports: &[&Export]) -> String {
    let types = exports.first().map(|export| &*export.types).unwrap_or_default();
    let docs = exports.first().map(|export| Arc::clone(&export.docs)).unwrap_or_default();
    let mut parts: Vec<String> = types.iter().map(|named| definition(named, types, &docs)).collect();
    for export in exports {
        let parameters = export.signature.parameters.iter();
        let parameters: Vec<_> = parameters
            .map(|parameter| {
                format!("{}: {}", identifier(&parameter.name), reference(&parameter.shape, types))
            })
            .collect();
        let result = export.signature.result.as_ref();
        let result = result.map(|shape| format!(" -> {}", reference(shape, types))).unwrap_or_default();
        let comment = comment(docs.function(&export.function), "    ");
        let function = identifier(&export.function);
        parts.push(format!("{comment}    {function}: func({}){result};\n", parameters.join(", ")));
    }
    format!("{}interface {} {{\n{}}}\n", comment(docs.interface(), ""), identifier(name), parts.join("\n"))
}

/// Writes documentation as `///` lines.
fn comment(docs: Option<&str>, indent: &str) -> String {
    let lines = docs.into_iter().flat_map(str::lines);
    lines.map(|line| format!("{indent}/// {line}").trim_end().to_owned() + "\n").collect()
}

/// Writes a name in WIT, where a keyword is one only with `%` before it.
pub fn identifier(name: &str) -> String {
    let is_keyword = KEYWORDS.split(' ').any(|word| word == name);
    if is_keyword { format!("%{name}") } else { name.to_owned() }
}

/// The first name that an interface has for a type which must have one.
fn name_of<'t>(shape: &Shape, types: &'t [Field]) -> Option<&'t str> {
    let needs_one = matches!(shape, Shape::Record(_) | Shape::Variant(_) | Shape::Enum(_) | Shape::Flags(_));
    let named = types.iter().find(|named| needs_one && named.shape == *shape)?;
    Some(&named.name)
}

/// Writes a type where it is used.
fn reference(shape: &Shape, types: &[Field]) -> String {
    shape.name_with(&|shape| name_of(shape, types).map(identifier))
}

/// `record name { … }` and the like.
fn definition(named: &Field, types: &[Field], docs: &InterfaceDocs) -> String {
    let name = identifier(&named.name);
    let is_first = name_of(&named.shape, types) == Some(&named.name);
    let comment_of_type = comment(docs.type_named(&named.name), "    ");
    let bare = |names: &[Box<str>]| names.iter().map(|name| (name.clone(), String::new())).collect();
    let (word, items): (_, Vec<(Box<str>, String)>) = match &named.shape {
        Shape::Record(fields) if is_first => {
            let of_type = |field: &Field| format!(": {}", reference(&field.shape, types));
            ("record", fields.iter().map(|field| (field.name.clone(), of_type(field))).collect())
        }
        Shape::Variant(cases) if is_first => {
            let with = |payload: &Shape| format!("({})", reference(payload, types));
            let item = |case: &Case| (case.name.clone(), case.payload.as_ref().map(with).unwrap_or_default());
            ("variant", cases.iter().map(item).collect())
        }
        Shape::Enum(names) if is_first => ("enum", bare(names)),
        Shape::Flags(names) if is_first => ("flags", bare(names)),
        shape => return format!("{comment_of_type}    type {name} = {};\n", reference(shape, types)),
    };
    let line = |(item, rest): (Box<str>, String)| {
        format!(
            "{}        {}{rest},\n",
            comment(docs.item(&named.name, &item), "        "),
            identifier(&item)
        )
    };
    let lines: String = items.into_iter().map(line).collect();
    format!("{comment_of_type}    {word} {name} {{\n{lines}    }}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(name: &str, shape: Shape) -> Field {
        Field { name: name.into(), shape }
    }

    #[test]
    fn types_are_written_where_they_are_defined_and_named_where_they_are_used() {
        let point = Shape::Record([field("x", Shape::F64), field("type", Shape::U8)].into());
        let list_of = |shape: &Shape| Shape::List(Box::new(shape.clone()));
        let case = |name: &str, payload| Case { name: name.into(), payload };
        let variant = [case("none", None), case("many", Some(list_of(&point)))];
        let types = [
            field("point", point.clone()),
            field("vector", point.clone()),
            field("json", Shape::String),
            field("list", Shape::Enum(["a".into()].into())),
            field("shape", Shape::Variant(variant.into())),
        ];
        let texts = types.each_ref().map(|named| definition(named, &types, &InterfaceDocs::default()));
        assert_eq!(
            texts.concat(),
            "    record point {\n        x: f64,\n        %type: u8,\n    }\n    type vector = point;\n    \
             type json = string;\n    enum %list {\n        a,\n    }\n    variant shape {\n        none,\n        \
             many(list<point>),\n    }\n"
        );
        let err = Some(Box::new(types[3].shape.clone()));
        let result = Shape::Result { ok: None, err };
        assert_eq!(reference(&Shape::Option(Box::new(result)), &types), "option<result<_, %list>>");
        assert_eq!(reference(&Shape::Tuple([point, Shape::String].into()), &types), "tuple<point, string>");
    }
}
