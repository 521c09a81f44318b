//! From Rust's types to WIT.

use std::collections::BTreeMap;

use syn::{Error, GenericArgument, Ident, PathArguments, Result, Type};

use crate::names::{escaped, kebab};

/// The types that the module declares, by name.
pub type Declared = BTreeMap<String, Ident>;

/// The WIT of a type; `None` for `()`. Calls `uses` with each type of the module that is
/// in it.
pub fn wit(ty: &Type, declared: &Declared, uses: &mut dyn FnMut(&str)) -> Result<Option<String>> {
    match ty {
        Type::Paren(inner) => wit(&inner.elem, declared, uses),
        Type::Group(inner) => wit(&inner.elem, declared, uses),
        Type::Tuple(tuple) if tuple.elems.is_empty() => Ok(None),
        Type::Tuple(tuple) => {
            let elements = tuple.elems.iter().map(|element| some(element, declared, uses));
            Ok(Some(format!("tuple<{}>", elements.collect::<Result<Vec<_>>>()?.join(", "))))
        }
        Type::Path(path) if path.qself.is_none() => {
            let Some(last) = path.path.segments.last() else { return unknown(ty) };
            let arguments = generics(&last.arguments);
            let mut within = |index: usize| match arguments.get(index) {
                Some(argument) => wit(argument, declared, uses),
                None => Err(Error::new_spanned(ty, "a type is missing here")),
            };
            let needed = |found: Option<String>| {
                found.ok_or_else(|| Error::new_spanned(ty, "`()` has no type in WIT but as a result"))
            };
            Ok(Some(match &*last.ident.to_string() {
                name @ ("bool" | "u8" | "u16" | "u32" | "u64" | "f32" | "f64" | "char") => name.to_owned(),
                name @ ("i8" | "i16" | "i32" | "i64") => name.replace('i', "s"),
                "String" => "string".to_owned(),
                "Vec" => format!("list<{}>", needed(within(0)?)?),
                "Option" => format!("option<{}>", needed(within(0)?)?),
                "BTreeMap" | "HashMap" => {
                    format!("list<tuple<{}, {}>>", needed(within(0)?)?, needed(within(1)?)?)
                }
                "Result" => match (within(0)?, within(1)?) {
                    (None, None) => "result".to_owned(),
                    (Some(ok), None) => format!("result<{ok}>"),
                    (None, Some(err)) => format!("result<_, {err}>"),
                    (Some(ok), Some(err)) => format!("result<{ok}, {err}>"),
                },
                name => match declared.get(name) {
                    Some(ident) if arguments.is_empty() => {
                        uses(name);
                        escaped(&kebab(ident)?)
                    }
                    _ => return unknown(ty),
                },
            }))
        }
        _ => unknown(ty),
    }
}

/// Writes a type that must have a name in WIT.
pub fn some(ty: &Type, declared: &Declared, uses: &mut dyn FnMut(&str)) -> Result<String> {
    let found = wit(ty, declared, uses)?;
    found.ok_or_else(|| Error::new_spanned(ty, "`()` has no type in WIT but as a result"))
}

/// The parts of `Result<T, E>`.
pub fn of_result(ty: &Type) -> Option<(&Type, &Type)> {
    let Type::Path(path) = ty else { return None };
    let last = path.path.segments.last().filter(|last| last.ident == "Result")?;
    match *generics(&last.arguments) {
        [ok, err] => Some((ok, err)),
        _ => None,
    }
}

fn generics(arguments: &PathArguments) -> Vec<&Type> {
    let PathArguments::AngleBracketed(arguments) = arguments else { return Vec::new() };
    let types = arguments.args.iter().filter_map(|argument| match argument {
        GenericArgument::Type(ty) => Some(ty),
        _ => None,
    });
    types.collect()
}

fn unknown<T>(ty: &Type) -> Result<T> {
    Err(Error::new_spanned(
        ty,
        "this has no type in WIT: possible are bool, u8 to u64, i8 to i64, f32, f64, char, String, Vec, Option, Result, \
         tuples, BTreeMap, HashMap, and structs and enums of this module",
    ))
}
