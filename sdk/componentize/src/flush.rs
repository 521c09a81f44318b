//! What C and C++ have written is kept by their library until somebody flushes it. A program does so when it
//! ends; a component does not end, so each of its exports does so when it returns.

use std::ops::Range;

use anyhow::{Context, Result};
use wasm_encoder::{CodeSection, ExportKind, ExportSection, Function, FunctionSection, Module, RawSection};
use wasmparser::{CompositeInnerType, ExternalKind, Parser, Payload, TypeRef};

/// The export that flushes everything. It is of the module alone.
const FLUSH: &str = "run_wasm_runner_flush";

/// Returns the source of that export, which is the same in C and C++.
pub fn source() -> String {
    format!(
        "// Made by run-wasm-runner. DO NOT EDIT!\n\n#include <stdio.h>\n\n\
         #ifdef __cplusplus\nextern \"C\"\n#endif\n\
         __attribute__((__export_name__(\"{FLUSH}\"))) void {FLUSH}(void) {{\n  fflush(NULL);\n}}\n"
    )
}

/// Makes each function that a module exports to others flush before it returns, if the module can.
pub fn before_returns(module: &[u8]) -> Result<Vec<u8>> {
    let found = Found::of(module)?;
    let Some(flush) = found.flush else { return Ok(module.to_owned()) };
    let mut made = Module::new();
    let wrapped: Vec<u32> = found.exports.iter().filter(|export| export.is_called).map(|e| e.index).collect();
    for payload in Parser::new(0).parse_all(module) {
        let payload = payload?;
        match &payload {
            Payload::FunctionSection(functions) => {
                let mut section = FunctionSection::new();
                for function in functions.clone() {
                    section.function(function?);
                }
                for index in &wrapped {
                    section.function(found.type_of(*index)?);
                }
                made.section(&section);
            }
            Payload::ExportSection(exports) => {
                let mut section = ExportSection::new();
                let mut next = found.count();
                for (export, ours) in exports.clone().into_iter().zip(&found.exports) {
                    let export = export?;
                    if export.name == FLUSH {
                        continue;
                    }
                    let index = if ours.is_called { next } else { export.index };
                    next += u32::from(ours.is_called);
                    section.export(export.name, kind(export.kind), index);
                }
                made.section(&section);
            }
            Payload::CodeSectionStart { .. } => {
                let mut section = CodeSection::new();
                for body in &found.bodies {
                    section.raw(bytes(module, body));
                }
                for index in &wrapped {
                    let mut function = Function::new([]);
                    let mut code = function.instructions();
                    for parameter in 0..found.parameters(*index)? {
                        code.local_get(parameter);
                    }
                    // Results stay where they are.
                    code.call(*index).call(flush).end();
                    section.function(&function);
                }
                made.section(&section);
            }
            _ => {
                if let Some((id, range)) = payload.as_section() {
                    made.section(&RawSection { id, data: bytes(module, &range) });
                }
            }
        }
    }
    Ok(made.finish())
}

/// What has to be known of a module first.
#[derive(Default)]
struct Found {
    /// The number of parameters of each type; `None` for those that are no functions.
    types: Vec<Option<u32>>,
    /// The type of each function, imports first.
    functions: Vec<u32>,
    exports: Vec<Exported>,
    bodies: Vec<Range<u64>>,
    flush: Option<u32>,
}

struct Exported {
    index: u32,
    /// Whether it is a function that others call.
    is_called: bool,
}

impl Found {
    fn of(module: &[u8]) -> Result<Self> {
        let mut found = Self::default();
        for payload in Parser::new(0).parse_all(module) {
            match payload? {
                Payload::TypeSection(groups) => {
                    for group in groups {
                        found.types.extend(group?.into_types().map(|one| match one.composite_type.inner {
                            CompositeInnerType::Func(function) => u32::try_from(function.params().len()).ok(),
                            _ => None,
                        }));
                    }
                }
                Payload::ImportSection(imports) => {
                    for import in imports.into_imports() {
                        if let TypeRef::Func(of) = import?.ty {
                            found.functions.push(of);
                        }
                    }
                }
                Payload::FunctionSection(functions) => {
                    for function in functions {
                        found.functions.push(function?);
                    }
                }
                Payload::ExportSection(exports) => {
                    for export in exports {
                        let export = export?;
                        let is_function = export.kind == ExternalKind::Func;
                        if is_function && export.name == FLUSH {
                            found.flush = Some(export.index);
                        }
                        // No name in WIT has an underscore, and all of the ABI's own functions have one.
                        let is_called = is_function && !export.name.contains('_');
                        found.exports.push(Exported { index: export.index, is_called });
                    }
                }
                Payload::CodeSectionEntry(body) => found.bodies.push(body.range()),
                _ => {}
            }
        }
        Ok(found)
    }

    /// The number of functions, which is the index of the next.
    fn count(&self) -> u32 {
        self.functions.len() as u32
    }

    fn type_of(&self, function: u32) -> Result<u32> {
        self.functions.get(function as usize).copied().context("an export is of no function")
    }

    fn parameters(&self, function: u32) -> Result<u32> {
        let of = self.type_of(function)?;
        self.types.get(of as usize).copied().flatten().context("a function has no type")
    }
}

fn bytes<'m>(module: &'m [u8], range: &Range<u64>) -> &'m [u8] {
    // The module is in memory, so its places are.
    &module[range.start as usize..range.end as usize]
}

fn kind(kind: ExternalKind) -> ExportKind {
    match kind {
        ExternalKind::Func | ExternalKind::FuncExact => ExportKind::Func,
        ExternalKind::Table => ExportKind::Table,
        ExternalKind::Memory => ExportKind::Memory,
        ExternalKind::Global => ExportKind::Global,
        ExternalKind::Tag => ExportKind::Tag,
    }
}
