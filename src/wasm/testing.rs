//! Components for tests, encoded from shapes.

use wasm_encoder::{
    CanonicalOption, CodeSection, ComponentBuilder, ComponentDefinedTypeEncoder, ComponentExportKind,
    ComponentTypeRef, ComponentValType, ConstExpr, ExportKind, ExportSection, Function, FunctionSection,
    GlobalSection, GlobalType, InstanceType, MemorySection, MemoryType, Module, PrimitiveValType, TypeBounds,
    TypeSection, ValType,
};

use super::values::{Field, Shape};

/// A function of a test component. It takes its arguments and, if it has a
/// result, traps.
pub(super) struct TestFunction {
    name: &'static str,
    parameters: Vec<Field>,
    result: Option<Shape>,
}

pub(super) fn function<'a>(
    name: &'static str,
    parameters: impl IntoIterator<Item = (&'a str, Shape)>,
    result: impl Into<Option<Shape>>,
) -> TestFunction {
    let parameters = parameters.into_iter().map(|(name, shape)| Field { name: name.into(), shape });
    TestFunction { name, parameters: parameters.collect(), result: result.into() }
}

/// Something that a test component imports.
pub(super) enum TestImport {
    Function(TestFunction),
    /// An interface of functions, and whether it has a type of its own besides.
    Interface(&'static str, Vec<TestFunction>, bool),
}

/// A component that exports functions at its root and in interfaces.
pub(super) fn component(
    imports: &[TestImport],
    root: &[TestFunction],
    interfaces: &[(&str, Vec<TestFunction>)],
) -> Vec<u8> {
    let mut builder = ComponentBuilder::default();
    for import in imports {
        match import {
            TestImport::Function(function) => {
                let ty = Scope::Imports(&mut builder, function.name).function(function);
                builder.import(function.name, ComponentTypeRef::Func(ty));
            }
            TestImport::Interface(name, functions, with_type) => {
                let mut interface = InstanceType::new();
                if *with_type {
                    Scope::Interface(&mut interface, "own").value(&Shape::Enum(["a".into()].into()));
                }
                for function in functions {
                    let ty = Scope::Interface(&mut interface, function.name).function(function);
                    interface.export(function.name, ComponentTypeRef::Func(ty));
                }
                let ty = builder.type_instance(None, &interface);
                builder.import(*name, ComponentTypeRef::Instance(ty));
            }
        }
    }
    export_functions(&mut builder, root);
    for (name, functions) in interfaces {
        let mut inner = ComponentBuilder::default();
        export_functions(&mut inner, functions);
        let inner = builder.component(None, inner);
        let none: [(&str, ComponentExportKind, u32); 0] = [];
        let instance = builder.instantiate(None, inner, none);
        builder.export(*name, ComponentExportKind::Instance, instance, None);
    }
    builder.finish()
}

fn export_functions(builder: &mut ComponentBuilder, functions: &[TestFunction]) {
    if functions.is_empty() {
        return;
    }
    let module = builder.core_module(None, &core_module(functions));
    let instance = builder.core_instantiate(None, module, []);
    let memory = builder.core_alias_export(None, instance, "memory", ExportKind::Memory);
    let realloc = builder.core_alias_export(None, instance, "realloc", ExportKind::Func);
    for function in functions {
        let ty = Scope::Exports(builder, function.name).function(function);
        let core = builder.core_alias_export(None, instance, function.name, ExportKind::Func);
        let options =
            [CanonicalOption::UTF8, CanonicalOption::Memory(memory), CanonicalOption::Realloc(realloc)];
        let lifted = builder.lift_func(None, core, ty, options);
        builder.export(function.name, ComponentExportKind::Func, lifted, None);
    }
}

/// A module with a memory, an allocator that never frees, and the functions.
fn core_module(functions: &[TestFunction]) -> Module {
    let mut types = TypeSection::new();
    let mut kinds = FunctionSection::new();
    let mut exports = ExportSection::new();
    let mut code = CodeSection::new();

    types.ty().function([ValType::I32; 4], [ValType::I32]);
    kinds.function(0);
    exports.export("memory", ExportKind::Memory, 0).export("realloc", ExportKind::Func, 0);
    let mut realloc = Function::new([]);
    // Every block starts at a multiple of 8: the old top, and a new one above.
    realloc.instructions().global_get(0).global_get(0).local_get(3).i32_add();
    realloc.instructions().i32_const(7).i32_add().i32_const(-8).i32_and().global_set(0).end();
    code.function(&realloc);

    for (index, function) in functions.iter().enumerate() {
        let index = u32::try_from(index).unwrap() + 1;
        let mut parameters: Vec<ValType> =
            function.parameters.iter().flat_map(|field| flat(&field.shape)).collect();
        if parameters.len() > 16 {
            parameters = vec![ValType::I32];
        }
        let mut results = function.result.as_ref().map(flat).unwrap_or_default();
        if results.len() > 1 {
            results = vec![ValType::I32];
        }
        types.ty().function(parameters, results.clone());
        kinds.function(index);
        exports.export(function.name, ExportKind::Func, index);
        let mut body = Function::new([]);
        if !results.is_empty() {
            body.instructions().unreachable();
        }
        body.instructions().end();
        code.function(&body);
    }

    let mut memories = MemorySection::new();
    memories.memory(MemoryType {
        minimum: 64,
        maximum: None,
        memory64: false,
        shared: false,
        page_size_log2: None,
    });
    let mut globals = GlobalSection::new();
    let mutable = GlobalType { val_type: ValType::I32, mutable: true, shared: false };
    globals.global(mutable, &ConstExpr::i32_const(8));

    let mut module = Module::new();
    module
        .section(&types)
        .section(&kinds)
        .section(&memories)
        .section(&globals)
        .section(&exports)
        .section(&code);
    module
}

/// The core values that a value becomes, by the canonical ABI.
fn flat(shape: &Shape) -> Vec<ValType> {
    let tagged = |payloads: Vec<Vec<ValType>>| {
        let mut joined: Vec<ValType> = Vec::new();
        for payload in payloads {
            for (index, ty) in payload.into_iter().enumerate() {
                match joined.get_mut(index) {
                    None => joined.push(ty),
                    Some(other) if *other == ty => {}
                    Some(other @ (ValType::I32 | ValType::F32))
                        if matches!(ty, ValType::I32 | ValType::F32) =>
                    {
                        *other = ValType::I32;
                    }
                    Some(other) => *other = ValType::I64,
                }
            }
        }
        joined.insert(0, ValType::I32);
        joined
    };
    let boxed = |shape: &Option<Box<Shape>>| shape.as_deref().map(flat).unwrap_or_default();
    match shape {
        Shape::S64 | Shape::U64 => vec![ValType::I64],
        Shape::F32 => vec![ValType::F32],
        Shape::F64 => vec![ValType::F64],
        Shape::String | Shape::List(_) => vec![ValType::I32; 2],
        Shape::Record(fields) => fields.iter().flat_map(|field| flat(&field.shape)).collect(),
        Shape::Tuple(shapes) => shapes.iter().flat_map(flat).collect(),
        Shape::Variant(cases) => {
            tagged(cases.iter().map(|case| case.payload.as_ref().map(flat).unwrap_or_default()).collect())
        }
        Shape::Option(value) => tagged(vec![flat(value)]),
        Shape::Result { ok, err } => tagged(vec![boxed(ok), boxed(err)]),
        _ => vec![ValType::I32],
    }
}

/// Where types are defined, and the prefix of the names that records and the
/// like must have.
enum Scope<'a> {
    Imports(&'a mut ComponentBuilder, &'a str),
    Exports(&'a mut ComponentBuilder, &'a str),
    Interface(&'a mut InstanceType, &'a str),
}

impl Scope<'_> {
    fn function(&mut self, function: &TestFunction) -> u32 {
        let parameters: Vec<(&str, ComponentValType)> =
            function.parameters.iter().map(|field| (&*field.name, self.value(&field.shape))).collect();
        let result = function.result.as_ref().map(|shape| self.value(shape));
        match self {
            Self::Imports(builder, _) | Self::Exports(builder, _) => {
                let (index, mut encoder) = builder.type_function(None);
                encoder.params(parameters).result(result);
                index
            }
            Self::Interface(interface, _) => {
                interface.ty().function().params(parameters).result(result);
                interface.type_count() - 1
            }
        }
    }

    fn define(&mut self, encode: impl FnOnce(ComponentDefinedTypeEncoder<'_>)) -> ComponentValType {
        ComponentValType::Type(match self {
            Self::Imports(builder, _) | Self::Exports(builder, _) => {
                let (index, encoder) = builder.type_defined(None);
                encode(encoder);
                index
            }
            Self::Interface(interface, _) => {
                encode(interface.ty().defined_type());
                interface.type_count() - 1
            }
        })
    }

    /// Defines a type that must have a name, and names it.
    fn define_named(&mut self, encode: impl FnOnce(ComponentDefinedTypeEncoder<'_>)) -> ComponentValType {
        let ComponentValType::Type(index) = self.define(encode) else { unreachable!() };
        let bound = ComponentTypeRef::Type(TypeBounds::Eq(index));
        ComponentValType::Type(match self {
            Self::Imports(builder, prefix) => builder.import(format!("type-{prefix}-n{index}"), bound),
            Self::Exports(builder, prefix) => {
                builder.export(format!("type-{prefix}-n{index}"), ComponentExportKind::Type, index, None)
            }
            Self::Interface(interface, prefix) => {
                interface.export(format!("type-{prefix}-n{index}"), bound);
                interface.type_count() - 1
            }
        })
    }

    fn value(&mut self, shape: &Shape) -> ComponentValType {
        let primitive = match shape {
            Shape::Bool => PrimitiveValType::Bool,
            Shape::S8 => PrimitiveValType::S8,
            Shape::U8 => PrimitiveValType::U8,
            Shape::S16 => PrimitiveValType::S16,
            Shape::U16 => PrimitiveValType::U16,
            Shape::S32 => PrimitiveValType::S32,
            Shape::U32 => PrimitiveValType::U32,
            Shape::S64 => PrimitiveValType::S64,
            Shape::U64 => PrimitiveValType::U64,
            Shape::F32 => PrimitiveValType::F32,
            Shape::F64 => PrimitiveValType::F64,
            Shape::Char => PrimitiveValType::Char,
            Shape::String => PrimitiveValType::String,
            Shape::List(element) => {
                let element = self.value(element);
                return self.define(|ty| ty.list(element));
            }
            Shape::Option(value) => {
                let value = self.value(value);
                return self.define(|ty| ty.option(value));
            }
            Shape::Tuple(shapes) => {
                let types: Vec<_> = shapes.iter().map(|shape| self.value(shape)).collect();
                return self.define(|ty| ty.tuple(types));
            }
            Shape::Result { ok, err } => {
                let ok = ok.as_ref().map(|shape| self.value(shape));
                let err = err.as_ref().map(|shape| self.value(shape));
                return self.define(|ty| ty.result(ok, err));
            }
            Shape::Record(fields) => {
                let fields: Vec<_> =
                    fields.iter().map(|field| (&*field.name, self.value(&field.shape))).collect();
                return self.define_named(|ty| ty.record(fields));
            }
            Shape::Variant(cases) => {
                let cases: Vec<_> = cases
                    .iter()
                    .map(|case| (&*case.name, case.payload.as_ref().map(|shape| self.value(shape))))
                    .collect();
                return self.define_named(|ty| ty.variant(cases));
            }
            Shape::Enum(names) => {
                return self.define_named(|ty| ty.enum_type(names.iter().map(|name| &**name)));
            }
            Shape::Flags(names) => {
                return self.define_named(|ty| ty.flags(names.iter().map(|name| &**name)));
            }
        };
        ComponentValType::Primitive(primitive)
    }
}
