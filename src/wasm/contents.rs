//! The contents of a component, by one pass over its bytes before anything else looks at them: the numbers that are
//! bounded, and the core instances of an instance of it with the bytes of their state, which wasmtime does not tell.

use wasmparser::{
    ComponentAlias, ComponentExternalKind, ComponentInstance, ComponentOuterAliasKind, ComponentTypeRef,
    ElementItems, Encoding, FromReader, Instance, Parser, Payload, SectionLimited,
};

use super::engine::MAX_CORE_INSTANCES;
use super::sections::classify;

/// The contents of a component.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Contents {
    /// The core instances that an instance of it has, with those of the components in it: never too few, as far
    /// as wasmtime allows them at all. Between two components wasmtime adds one that adapts calls.
    pub(super) core_instances: u32,
    /// The bytes that their globals, imports and references to functions take. (Memories and tables are counted when
    /// they are made.)
    pub(super) state_bytes: u64,
}

/// A number that is counted in a whole file, with the components and core modules in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bound {
    Levels,
    Parts,
    Imports,
    Exports,
    Instances,
    Aliases,
    Types,
    Functions,
    Description,
    CoreFunctions,
    CoreItems,
    CoreDescription,
}

/// Each bound: what it bounds, and the most of it. They are several times what the largest components of any
/// language have. All are paid for in the memory of every process that loads the component, up to several hundred
/// bytes for each item.
const BOUNDS: [(Bound, &str, u64); 12] = [
    (Bound::Levels, "levels of components in each other", 32),
    (Bound::Parts, "components and core modules", 1_000),
    (Bound::Imports, "imports of components", 100_000),
    (Bound::Exports, "exports of components", 100_000),
    (Bound::Instances, "instances", 10_000),
    (Bound::Aliases, "aliases", 200_000),
    (Bound::Types, "types of components", 100_000),
    (Bound::Functions, "functions of components", 100_000),
    (Bound::Description, "bytes of names, types and links of components", 4 << 20),
    (Bound::CoreFunctions, "functions of core modules", 1_000_000),
    (Bound::CoreItems, "types, imports, exports, globals and elements of core modules", 1_000_000),
    (Bound::CoreDescription, "bytes of names, types and tables of core modules", 16 << 20),
];

/// How many of each were found so far.
#[derive(Default)]
struct Found([u64; BOUNDS.len()]);

impl Found {
    /// Counts more of what is bounded.
    fn add(&mut self, bound: Bound, more: u64) -> Result<(), Stop> {
        let found = &mut self.0[bound as usize];
        *found = found.saturating_add(more);
        self.check(bound)
    }

    fn check(&self, bound: Bound) -> Result<(), Stop> {
        let (_, what, most) = BOUNDS[bound as usize];
        let found = self.0[bound as usize];
        if found <= most {
            return Ok(());
        }
        Err(Stop::Beyond(format!("it has {found} {what}, more than the {most} that a component may have")))
    }

    /// Counts a section of a component. Its number of items is what it says itself: it is refused by that before
    /// an item is read.
    fn section<'b, T: FromReader<'b>>(
        &mut self,
        bound: Bound,
        section: &SectionLimited<'b, T>,
    ) -> Result<(), Stop> {
        self.add(bound, section.count().into())?;
        self.add(Bound::Description, section.range().len() as u64)
    }

    /// Counts a section of a core module.
    fn core<'b, T: FromReader<'b>>(
        &mut self,
        bound: Bound,
        section: &SectionLimited<'b, T>,
    ) -> Result<(), Stop> {
        self.add(bound, section.count().into())?;
        self.add(Bound::CoreDescription, section.range().len() as u64)
    }
}

/// The reasons to read no further.
enum Stop {
    /// A bound is exceeded.
    Beyond(String),
    /// It is no valid component.
    Malformed,
}

impl From<wasmparser::BinaryReaderError> for Stop {
    fn from(_: wasmparser::BinaryReaderError) -> Self {
        Self::Malformed
    }
}

/// The bytes of a global of an instance, and of an import or of a function that can be referred to, at most.
const GLOBAL_BYTES: u64 = 16;
const REFERENCE_BYTES: u64 = 32;

/// The parts of an instance of something.
#[derive(Debug, Clone, Copy, Default)]
struct Inside {
    core_instances: u32,
    state_bytes: u64,
    /// The number of core instances whose module is not known.
    unknown: u32,
}

impl Inside {
    /// As many core instances as there can be: it would take following what instances export.
    const UNKNOWN: Self =
        Self { core_instances: MAX_CORE_INSTANCES, state_bytes: 0, unknown: MAX_CORE_INSTANCES };

    fn add(&mut self, more: Self) {
        self.core_instances = self.core_instances.saturating_add(more.core_instances);
        self.state_bytes = self.state_bytes.saturating_add(more.state_bytes);
        self.unknown = self.unknown.saturating_add(more.unknown);
    }
}

/// A core module, as far as it was read.
#[derive(Default)]
struct Module {
    globals: u64,
    imports: u64,
    functions: u64,
    /// Functions that are exported, or named by elements or globals: others are called at a fixed place.
    referred: u64,
}

impl Module {
    fn state_bytes(&self) -> u64 {
        let functions = (self.functions + self.imports).min(self.referred + self.globals);
        self.globals * GLOBAL_BYTES + (self.imports + functions) * REFERENCE_BYTES
    }
}

/// A component, as far as it was read.
#[derive(Default)]
struct Scope {
    /// The parts that an instance of it has so far.
    inside: Inside,
    /// An instance of each component in its index space.
    components: Vec<Inside>,
    /// An instance of each core module in its index space.
    modules: Vec<Inside>,
}

impl Contents {
    /// Looks through a component. One that can't be read counts as one with as many core instances as there may
    /// be: the compiler says what is wrong with it, and it is never loaded.
    ///
    /// # Errors
    ///
    /// The kind of file that it is instead of a component, or the bound that it exceeds; as a sentence about `it`.
    pub(super) fn of(bytes: &[u8]) -> Result<Self, String> {
        classify(bytes)?;
        match look_through(bytes) {
            Ok(inside) => Ok(Self {
                core_instances: inside.core_instances.min(MAX_CORE_INSTANCES),
                state_bytes: inside.state_bytes,
            }),
            Err(Stop::Malformed) => Ok(Self { core_instances: MAX_CORE_INSTANCES, state_bytes: 0 }),
            Err(Stop::Beyond(message)) => Err(message),
        }
    }
}

/// Counts what is bounded, and what an instance has.
fn look_through(bytes: &[u8]) -> Result<Inside, Stop> {
    let mut found = Found::default();
    let mut scopes: Vec<Scope> = Vec::new();
    // The end of a module in a component is not that of a component.
    let mut kinds = Vec::new();
    let mut module = Module::default();
    // The state of an instance of the largest module.
    let mut largest = 0;
    for payload in Parser::new(0).parse_all(bytes) {
        match payload? {
            Payload::Version { encoding, .. } => {
                kinds.push(encoding);
                found.0[Bound::Levels as usize] = kinds.len() as u64;
                found.check(Bound::Levels)?;
                found.add(Bound::Parts, 1)?;
                match encoding {
                    Encoding::Component => scopes.push(Scope::default()),
                    Encoding::Module => module = Module::default(),
                }
            }
            Payload::End(_) => {
                let kind = kinds.pop().ok_or(Stop::Malformed)?;
                if kind == Encoding::Component {
                    let inner = scopes.pop().ok_or(Stop::Malformed)?;
                    match scopes.last_mut() {
                        Some(outer) => outer.components.push(inner.inside),
                        None => {
                            let mut whole = inner.inside;
                            let unknown = largest * u64::from(whole.unknown.min(MAX_CORE_INSTANCES));
                            whole.state_bytes = whole.state_bytes.saturating_add(unknown);
                            return Ok(whole);
                        }
                    }
                } else if let Some(scope) = scopes.last_mut() {
                    let state_bytes = module.state_bytes();
                    largest = largest.max(state_bytes);
                    scope.modules.push(Inside { core_instances: 1, state_bytes, unknown: 0 });
                }
            }
            Payload::InstanceSection(instances) => {
                found.section(Bound::Instances, &instances)?;
                for instance in instances {
                    if let Instance::Instantiate { module_index, .. } = instance? {
                        let scope = last(&mut scopes)?;
                        scope.inside.add(item(&scope.modules, module_index)?);
                    }
                }
            }
            Payload::ComponentInstanceSection(instances) => {
                found.section(Bound::Instances, &instances)?;
                for instance in instances {
                    if let ComponentInstance::Instantiate { component_index, .. } = instance? {
                        let scope = last(&mut scopes)?;
                        let mut inner = item(&scope.components, component_index)?;
                        inner.core_instances =
                            inner.core_instances.saturating_add(u32::from(inner.core_instances > 0));
                        scope.inside.add(inner);
                    }
                }
            }
            Payload::ComponentAliasSection(aliases) => {
                found.section(Bound::Aliases, &aliases)?;
                for alias in aliases {
                    let outer = |count| {
                        let up = usize::try_from(count).ok().and_then(|count: usize| count.checked_add(1));
                        let place = up.and_then(|up| scopes.len().checked_sub(up));
                        place.map(|place| &scopes[place]).ok_or(Stop::Malformed)
                    };
                    let (component, module) = match alias? {
                        ComponentAlias::Outer { kind: ComponentOuterAliasKind::Component, count, index } => {
                            (Some(item(&outer(count)?.components, index)?), None)
                        }
                        ComponentAlias::Outer { kind: ComponentOuterAliasKind::CoreModule, count, index } => {
                            (None, Some(item(&outer(count)?.modules, index)?))
                        }
                        ComponentAlias::InstanceExport { kind: ComponentExternalKind::Component, .. } => {
                            (Some(Inside::UNKNOWN), None)
                        }
                        ComponentAlias::InstanceExport { kind: ComponentExternalKind::Module, .. } => {
                            (None, Some(Inside { core_instances: 1, state_bytes: 0, unknown: 1 }))
                        }
                        _ => (None, None),
                    };
                    let scope = last(&mut scopes)?;
                    scope.components.extend(component);
                    scope.modules.extend(module);
                }
            }
            Payload::ComponentImportSection(imports) => {
                found.section(Bound::Imports, &imports)?;
                for import in imports {
                    match import?.ty {
                        ComponentTypeRef::Component(_) => last(&mut scopes)?.components.push(Inside::UNKNOWN),
                        ComponentTypeRef::Module(_) => {
                            let one = Inside { core_instances: 1, state_bytes: 0, unknown: 1 };
                            last(&mut scopes)?.modules.push(one);
                        }
                        _ => {}
                    }
                }
            }
            Payload::ComponentExportSection(exports) => {
                found.section(Bound::Exports, &exports)?;
                for export in exports {
                    let export = export?;
                    let scope = last(&mut scopes)?;
                    // An export has an index of its own.
                    match export.kind {
                        ComponentExternalKind::Component => {
                            scope.components.push(item(&scope.components, export.index)?);
                        }
                        ComponentExternalKind::Module => {
                            scope.modules.push(item(&scope.modules, export.index)?);
                        }
                        _ => {}
                    }
                }
            }
            // Types within types are bounded by their bytes: reading them would follow them to any depth.
            Payload::ComponentTypeSection(types) => found.section(Bound::Types, &types)?,
            Payload::CoreTypeSection(types) => found.section(Bound::Types, &types)?,
            Payload::ComponentCanonicalSection(functions) => found.section(Bound::Functions, &functions)?,
            Payload::FunctionSection(section) => {
                found.core(Bound::CoreFunctions, &section)?;
                module.functions += u64::from(section.count());
            }
            Payload::TypeSection(section) => found.core(Bound::CoreItems, &section)?,
            Payload::ImportSection(section) => {
                found.core(Bound::CoreItems, &section)?;
                module.imports += u64::from(section.count());
            }
            Payload::ExportSection(section) => {
                found.core(Bound::CoreItems, &section)?;
                module.referred += u64::from(section.count());
            }
            Payload::GlobalSection(section) => {
                found.core(Bound::CoreItems, &section)?;
                module.globals += u64::from(section.count());
            }
            Payload::ElementSection(section) => {
                found.core(Bound::CoreItems, &section)?;
                for element in section {
                    module.referred += u64::from(match element?.items {
                        ElementItems::Functions(items) => items.count(),
                        ElementItems::Expressions(_, items) => items.count(),
                    });
                }
            }
            Payload::TableSection(section) => found.core(Bound::CoreItems, &section)?,
            Payload::TagSection(section) => found.core(Bound::CoreItems, &section)?,
            // Code and data are bounded by the file and by what compiling may take; nobody reads custom
            // sections but the one with the documentation, which is bounded there.
            _ => {}
        }
    }
    Err(Stop::Malformed)
}

fn last(scopes: &mut [Scope]) -> Result<&mut Scope, Stop> {
    scopes.last_mut().ok_or(Stop::Malformed)
}

/// Finds something in an index space.
fn item(items: &[Inside], index: u32) -> Result<Inside, Stop> {
    usize::try_from(index).ok().and_then(|index| items.get(index)).copied().ok_or(Stop::Malformed)
}

#[cfg(test)]
mod tests {
    use wasm_encoder::{
        Alias, CanonicalFunctionSection, CodeSection, ComponentBuilder, ComponentExportKind,
        ComponentOuterAliasKind, ComponentTypeRef, ConstExpr, ElementSection, Elements, ExportKind,
        ExportSection, FunctionSection, GlobalSection, GlobalType, InstanceType, Module, PrimitiveValType,
        TypeBounds, TypeSection, ValType,
    };

    use super::*;
    use crate::wasm::testing::{component, function};

    const NONE: [(&str, ComponentExportKind, u32); 0] = [];

    fn core_instances(component: &[u8]) -> u32 {
        Contents::of(component).unwrap().core_instances
    }

    fn with_instances(count: u32) -> ComponentBuilder {
        let mut builder = ComponentBuilder::default();
        let module = builder.core_module(None, &Module::new());
        for _ in 0..count {
            builder.core_instantiate(None, module, []);
        }
        builder
    }

    fn around(module: &Module) -> Vec<u8> {
        let mut builder = ComponentBuilder::default();
        builder.core_module(None, module);
        builder.finish()
    }

    /// A file that has just so much of what is bounded.
    fn with(bound: Bound, count: u64) -> Vec<u8> {
        let count = usize::try_from(count).unwrap();
        let mut builder = ComponentBuilder::default();
        match bound {
            Bound::Levels => {
                for _ in 1..count {
                    let mut outer = ComponentBuilder::default();
                    outer.component(None, builder);
                    builder = outer;
                }
            }
            Bound::Parts => {
                for _ in 1..count {
                    builder.core_module(None, &Module::new());
                }
            }
            Bound::Imports => {
                let (ty, _) = builder.type_defined(None);
                for n in 0..count {
                    builder.import(format!("i{n}"), ComponentTypeRef::Type(TypeBounds::Eq(ty)));
                }
            }
            Bound::Exports => {
                for n in 0..count {
                    builder.export(format!("e{n}"), ComponentExportKind::Type, 0, None);
                }
            }
            Bound::Instances => return with_instances(count.try_into().unwrap()).finish(),
            Bound::Aliases => {
                for _ in 0..count {
                    let kind = ComponentOuterAliasKind::Type;
                    builder.alias(None, Alias::Outer { kind, count: 0, index: 0 });
                }
            }
            Bound::Types => {
                for _ in 0..count {
                    builder.type_defined(None).1.primitive(PrimitiveValType::U8);
                }
            }
            Bound::Functions => {
                let mut functions = CanonicalFunctionSection::new();
                for _ in 0..count {
                    functions.resource_drop(0);
                }
                let mut component = wasm_encoder::Component::new();
                component.section(&functions);
                return component.finish();
            }
            Bound::Description => {
                // Types in one type: in the numbers above they are one.
                let mut ty = InstanceType::new();
                // Each is a declaration and a type: two bytes.
                for _ in 0..count.div_ceil(2) {
                    ty.ty().defined_type().primitive(PrimitiveValType::U8);
                }
                builder.type_instance(None, &ty);
            }
            Bound::CoreFunctions => {
                let mut functions = FunctionSection::new();
                for _ in 0..count {
                    functions.function(0);
                }
                return around(Module::new().section(&functions));
            }
            Bound::CoreItems => {
                let mut types = TypeSection::new();
                for _ in 0..count {
                    types.ty().function([], []);
                }
                return around(Module::new().section(&types));
            }
            Bound::CoreDescription => {
                let mut exports = ExportSection::new();
                let name = "n".repeat(90_000);
                for _ in 0..count.div_ceil(name.len()) {
                    exports.export(&name, ExportKind::Func, 0);
                }
                return around(Module::new().section(&exports));
            }
        }
        builder.finish()
    }

    #[test]
    fn every_number_is_bounded_before_anything_is_read() {
        for (index, (bound, what, most)) in BOUNDS.into_iter().enumerate() {
            assert_eq!(bound as usize, index, "the table is in the order of the bounds");
            let is_bytes = matches!(bound, Bound::Description | Bound::CoreDescription);
            let within = Contents::of(&with(bound, if is_bytes { most - 100_000 } else { most }));
            assert_eq!(within.map(drop), Ok(()), "{what}");
            let beyond = Contents::of(&with(bound, most + 1)).expect_err(what);
            let end = format!(" {what}, more than the {most} that a component may have");
            assert!(beyond.ends_with(&end), "{beyond}");
        }
    }

    /// A count that the file does not have is refused by itself, without room for it.
    #[test]
    fn a_number_that_is_only_claimed_counts() {
        let mut bytes = ComponentBuilder::default().finish();
        // A section of exports that says that it has 2^32 - 1.
        bytes.extend([11, 5, 0xff, 0xff, 0xff, 0xff, 0x0f]);
        assert_eq!(
            Contents::of(&bytes),
            Err("it has 4294967295 exports of components, more than the 100000 that a component may have"
                .to_owned())
        );
    }

    #[test]
    fn the_page_has_every_bound() {
        let page = include_str!("../../docs/design/sandbox.md");
        for (_, what, most) in BOUNDS {
            let most = match most {
                bytes if bytes >= 1 << 20 => format!("{} MiB", bytes >> 20),
                number if number >= 1_000 => {
                    format!("{},000", number / 1_000).replace("1000,000", "1,000,000")
                }
                number => number.to_string(),
            };
            assert!(page.contains(&format!("| {what} | {most} |")), "`| {what} | {most} |`");
        }
    }

    #[test]
    fn core_instances_are_counted_in_all_components() {
        assert_eq!(core_instances(&with_instances(0).finish()), 0);
        assert_eq!(core_instances(&with_instances(5).finish()), 5);
        // One for the functions of the root, one for those of the interface, and what adapts between the two.
        let ordinary =
            component(&[], &[function("f", [], None)], &[("a:b/c", vec![function("g", [], None)])]);
        assert_eq!(core_instances(&ordinary), 3);

        let mut outer = with_instances(1);
        let inner = outer.component(None, with_instances(4));
        for _ in 0..3 {
            outer.instantiate(None, inner, NONE);
        }
        let mut middle = ComponentBuilder::default();
        let kind = ComponentOuterAliasKind::Component;
        let aliased = middle.alias(None, Alias::Outer { kind, count: 1, index: inner });
        middle.instantiate(None, aliased, NONE);
        let middle = outer.component(None, middle);
        outer.instantiate(None, middle, NONE);
        let exported = outer.export("again", ComponentExportKind::Component, inner, None);
        outer.instantiate(None, exported, NONE);
        assert_eq!(core_instances(&outer.finish()), 1 + 3 * 5 + 6 + 5);
    }

    #[test]
    fn the_state_of_each_core_instance_is_counted() {
        let mut globals = GlobalSection::new();
        for _ in 0..1_000 {
            let ty = GlobalType { val_type: ValType::I32, mutable: true, shared: false };
            globals.global(ty, &ConstExpr::i32_const(0));
        }
        let mut module = Module::new();
        module.section(&globals);
        let twice = |builder: &mut ComponentBuilder| {
            let module = builder.core_module(None, &module);
            builder.core_instantiate(None, module, []);
            builder.core_instantiate(None, module, []);
        };
        let (mut inner, mut outer) = (ComponentBuilder::default(), ComponentBuilder::default());
        twice(&mut inner);
        twice(&mut outer);
        let inner = outer.component(None, inner);
        outer.instantiate(None, inner, NONE);
        outer.instantiate(None, inner, NONE);
        let contents = Contents::of(&outer.finish()).unwrap();
        assert_eq!(contents.state_bytes, 6 * 1_000 * GLOBAL_BYTES);
    }

    #[test]
    fn functions_count_as_state_if_something_refers_to_them() {
        let (mut types, mut functions) = (TypeSection::new(), FunctionSection::new());
        types.ty().function([], []);
        let (mut exports, mut elements) = (ExportSection::new(), ElementSection::new());
        let (mut code, mut body) = (CodeSection::new(), wasm_encoder::Function::new([]));
        body.instructions().end();
        for _ in 0..100 {
            functions.function(0);
            code.function(&body);
        }
        exports.export("one", ExportKind::Func, 0);
        elements.passive(Elements::Functions((0..10).collect::<Vec<_>>().into()));
        let mut module = Module::new();
        module.section(&types).section(&functions).section(&exports).section(&elements).section(&code);
        let mut builder = ComponentBuilder::default();
        let module = builder.core_module(None, &module);
        builder.core_instantiate(None, module, []);
        let contents = Contents::of(&builder.finish()).unwrap();
        assert_eq!(contents.state_bytes, 11 * REFERENCE_BYTES);
    }

    #[test]
    fn components_in_components_without_end_are_as_many_as_there_may_be() {
        let mut bomb = with_instances(1);
        for _ in 0..30 {
            let mut outer = ComponentBuilder::default();
            let inner = outer.component(None, bomb);
            outer.instantiate(None, inner, NONE);
            outer.instantiate(None, inner, NONE);
            bomb = outer;
        }
        assert_eq!(core_instances(&bomb.finish()), MAX_CORE_INSTANCES);
    }

    #[test]
    fn what_is_malformed_is_left_to_the_compiler() {
        let mut bytes = ComponentBuilder::default().finish();
        bytes.extend([11, 2, 1, 0xff]);
        assert_eq!(core_instances(&bytes), MAX_CORE_INSTANCES);
    }
}
