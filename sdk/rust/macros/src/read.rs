//! The contents of a module of tasks.

use std::collections::BTreeSet;

use proc_macro2::Span;
use syn::parse::{Parse, ParseStream};
use syn::{
    Attribute, Error, Expr, Fields, FnArg, Ident, Item, ItemMod, Lit, LitStr, Meta, Pat, Result, ReturnType,
    Signature, Token, Type, Visibility,
};

use crate::names::{escaped, is_name, kebab};
use crate::types::{self, Declared};

/// A module of tasks.
pub struct Tasks {
    pub module: ItemMod,
    pub package: Package,
    /// The types that tasks use, in the module's order.
    pub types: Vec<Declaration>,
    pub functions: Vec<Function>,
    pub wit: String,
}

/// `namespace:name@version`
pub struct Package {
    pub namespace: String,
    pub name: String,
    pub version: Option<String>,
}

/// A struct or an enum.
pub struct Declaration {
    pub ident: Ident,
    pub name: String,
    pub kind: Kind,
    /// True if it is in the WIT, and not only in that of other components.
    pub is_bound: bool,
}

pub enum Kind {
    Record(Vec<(Ident, String)>),
    Flags(Vec<(Ident, String)>),
    Enum(Vec<(Ident, String)>),
    Variant(Vec<(Ident, String, bool)>),
}

/// A function without a body, which declares a task of another component.
pub struct Stub {
    pub attributes: Vec<Attribute>,
    pub visibility: Visibility,
    pub signature: Signature,
}

impl Parse for Stub {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let attributes = input.call(Attribute::parse_outer)?;
        let (visibility, signature) = (input.parse()?, input.parse()?);
        if input.peek(syn::token::Brace) {
            return Err(input.error("a task of another component has no body here: end it with `;`"));
        }
        input.parse::<Token![;]>()?;
        Ok(Self { attributes, visibility, signature })
    }
}

/// A task.
pub struct Function {
    pub ident: Ident,
    pub name: String,
    pub parameters: Vec<(Ident, Type)>,
    pub result: Option<Type>,
}

pub fn read(package: &LitStr, module: ItemMod) -> Result<Tasks> {
    let package = read_package(package)?;
    let Some((_, items)) = &module.content else {
        return Err(Error::new_spanned(&module, "the tasks must be in the module itself: `mod tasks { … }`"));
    };
    let declared: Declared = items
        .iter()
        .filter_map(|item| match item {
            Item::Struct(item) => Some((item.ident.to_string(), item.ident.clone())),
            Item::Enum(item) => Some((item.ident.to_string(), item.ident.clone())),
            _ => None,
        })
        .collect();
    let (mut used, mut used_elsewhere) = (BTreeSet::new(), BTreeSet::new());
    let mut functions = Vec::new();
    let mut functions_wit = Vec::new();
    for item in items {
        match item {
            Item::Fn(item) if matches!(item.vis, Visibility::Public(_)) => {
                let function = read_function(&item.sig)?;
                let types = wit_of(&function, &declared, &mut used)?;
                let docs = docs(&item.attrs, "    ");
                functions_wit.push(format!("{docs}    {}: func{types};\n", escaped(&function.name)));
                functions.push(function);
            }
            Item::Verbatim(tokens) => {
                if let Ok(stub) = syn::parse2::<Stub>(tokens.clone())
                    && stub.attributes.iter().any(|attribute| is_called(attribute, "remote"))
                {
                    wit_of(&read_function(&stub.signature)?, &declared, &mut used_elsewhere)?;
                }
            }
            _ => {}
        }
    }
    if functions.is_empty() {
        return Err(Error::new_spanned(&module.ident, "the module has no tasks: each `pub fn` is one"));
    }
    add_what_is_within(items, &declared, &mut used)?;
    add_what_is_within(items, &declared, &mut used_elsewhere)?;
    let mut types = Vec::new();
    let mut types_wit = Vec::new();
    for item in items {
        let ident = match item {
            Item::Struct(item) => &item.ident,
            Item::Enum(item) => &item.ident,
            _ => continue,
        };
        let name = ident.to_string();
        let is_bound = used.contains(&name);
        if (is_bound || used_elsewhere.contains(&name))
            && let Some((declaration, wit)) = read_type(item, &name, &declared, &mut BTreeSet::new())?
        {
            if !is_bound {
                types.push(Declaration { is_bound, ..declaration });
                continue;
            }
            if let Some(function) = functions.iter().find(|function| function.name == declaration.name) {
                let message = format!("a type and a task are both called `{}` in WIT", declaration.name);
                return Err(Error::new_spanned(&function.ident, message));
            }
            types.push(declaration);
            types_wit.push(wit);
        }
    }
    let version = package.version.as_ref().map(|version| format!("@{version}")).unwrap_or_default();
    types_wit.extend(functions_wit);
    let wit = format!(
        "package {}:{}{version};\n\ninterface tasks {{\n{}}}\n\nworld {} {{\n    export tasks;\n}}\n",
        escaped(&package.namespace),
        escaped(&package.name),
        types_wit.join("\n"),
        escaped(&package.name),
    );
    Ok(Tasks { module: without_marks(module), package, types, functions, wit })
}

/// Adds the types of which the types in `used` are made.
fn add_what_is_within(items: &[Item], declared: &Declared, used: &mut BTreeSet<String>) -> Result<()> {
    let mut waiting: Vec<String> = used.iter().cloned().collect();
    while let Some(name) = waiting.pop() {
        let mut within = BTreeSet::new();
        for item in items {
            read_type(item, &name, declared, &mut within)?;
        }
        waiting.extend(within.into_iter().filter(|name| used.insert(name.clone())));
    }
    Ok(())
}

/// The module for the compiler, without the attributes that only this macro knows.
fn without_marks(mut module: ItemMod) -> ItemMod {
    for item in module.content.iter_mut().flat_map(|(_, items)| items) {
        if let Item::Struct(item) = item {
            item.attrs.retain(|attribute| !is_called(attribute, "flags"));
        }
    }
    module
}

/// Tells whether an attribute has that name, with or without the crate's before it.
fn is_called(attribute: &Attribute, name: &str) -> bool {
    attribute.path().segments.last().is_some_and(|last| last.ident == name)
}

fn read_package(text: &LitStr) -> Result<Package> {
    let value = text.value();
    let (path, version) = match value.split_once('@') {
        Some((path, version)) => (path, Some(version.to_owned())),
        None => (&*value, None),
    };
    let (namespace, name) = path.split_once(':').unwrap_or_default();
    let is_version = |version: &String| version.split('.').count() >= 3;
    if !is_name(namespace) || !is_name(name) || name == "tasks" || !version.iter().all(is_version) {
        return Err(Error::new_spanned(text, "write `namespace:name`, or `namespace:name@1.2.3`"));
    }
    Ok(Package { namespace: namespace.to_owned(), name: name.to_owned(), version })
}

/// The parts of a task, whose types may be anything yet.
pub fn read_function(signature: &Signature) -> Result<Function> {
    if let Some(token) = &signature.asyncness {
        return Err(Error::new_spanned(
            token,
            "a task is a plain function: children run in parallel without `async`",
        ));
    }
    if !signature.generics.params.is_empty() {
        return Err(Error::new_spanned(
            &signature.generics,
            "a task has no generics: its types are those of WIT",
        ));
    }
    let parameters = signature.inputs.iter().map(|input| {
        let FnArg::Typed(input) = input else {
            return Err(Error::new_spanned(input, "a task has no `self`"));
        };
        let Pat::Ident(pattern) = &*input.pat else {
            return Err(Error::new_spanned(&input.pat, "a parameter of a task is a name"));
        };
        let mut ident = pattern.ident.clone();
        ident.set_span(Span::call_site());
        Ok((ident, (*input.ty).clone()))
    });
    let result = match &signature.output {
        ReturnType::Default => None,
        ReturnType::Type(_, ty) => Some((**ty).clone()),
    };
    Ok(Function {
        ident: signature.ident.clone(),
        name: kebab(&signature.ident)?,
        parameters: parameters.collect::<Result<_>>()?,
        result,
    })
}

/// The WIT of a task's parameters and result.
fn wit_of(function: &Function, declared: &Declared, used: &mut BTreeSet<String>) -> Result<String> {
    let mut uses = |name: &str| _ = used.insert(name.to_owned());
    let given = function.parameters.iter().map(|(ident, ty)| {
        let wit = types::some(ty, declared, &mut uses)?;
        Ok(format!("{}: {wit}", escaped(&kebab(ident)?)))
    });
    let given = given.collect::<Result<Vec<_>>>()?.join(", ");
    let result = function.result.as_ref();
    let returned = result.map(|ty| types::wit(ty, declared, &mut uses)).transpose()?.flatten();
    Ok(format!("({given}){}", returned.map(|wit| format!(" -> {wit}")).unwrap_or_default()))
}

/// The declaration of a type, if the item is the one of that name.
fn read_type(
    item: &Item,
    name: &str,
    declared: &Declared,
    used: &mut BTreeSet<String>,
) -> Result<Option<(Declaration, String)>> {
    let (ident, generics, attrs) = match item {
        Item::Struct(item) if item.ident == name => (&item.ident, &item.generics, &item.attrs),
        Item::Enum(item) if item.ident == name => (&item.ident, &item.generics, &item.attrs),
        _ => return Ok(None),
    };
    if !generics.params.is_empty() {
        return Err(Error::new_spanned(generics, "types of tasks have no generics: WIT has none"));
    }
    let mut uses = |name: &str| _ = used.insert(name.to_owned());
    let wit_name = kebab(ident)?;
    let (kind, word, lines) = match item {
        Item::Struct(item) => {
            let Fields::Named(fields) = &item.fields else {
                return Err(Error::new_spanned(item, "a struct of a task needs fields with names"));
            };
            let mut known = Vec::new();
            let mut lines = String::new();
            for field in &fields.named {
                let Some(ident) = &field.ident else { continue };
                let name = kebab(ident)?;
                let wit = types::some(&field.ty, declared, &mut uses)?;
                lines.push_str(&format!(
                    "{}        {}: {wit},\n",
                    docs(&field.attrs, "        "),
                    escaped(&name)
                ));
                known.push((ident.clone(), name));
            }
            if known.is_empty() {
                return Err(Error::new_spanned(
                    item,
                    "a struct of a task needs fields: WIT has no empty ones",
                ));
            }
            if !attrs.iter().any(|attribute| is_called(attribute, "flags")) {
                (Kind::Record(known), "record", lines)
            } else if fields
                .named
                .iter()
                .all(|field| matches!(&field.ty, Type::Path(ty) if ty.path.is_ident("bool")))
            {
                (Kind::Flags(known), "flags", lines.replace(": bool,\n", ",\n"))
            } else {
                return Err(Error::new_spanned(item, "each field of flags is a `bool`"));
            }
        }
        Item::Enum(item) => {
            let mut cases = Vec::new();
            let mut lines = String::new();
            for case in &item.variants {
                let name = kebab(&case.ident)?;
                let payload = match &case.fields {
                    Fields::Unit => None,
                    Fields::Unnamed(fields) if fields.unnamed.len() == 1 => {
                        Some(types::some(&fields.unnamed[0].ty, declared, &mut uses)?)
                    }
                    _ => return Err(Error::new_spanned(case, "a case carries one value, or none")),
                };
                let carried = payload.as_ref().map(|wit| format!("({wit})")).unwrap_or_default();
                lines.push_str(&format!(
                    "{}        {}{carried},\n",
                    docs(&case.attrs, "        "),
                    escaped(&name)
                ));
                cases.push((case.ident.clone(), name, payload.is_some()));
            }
            if cases.is_empty() {
                return Err(Error::new_spanned(item, "an enum of a task needs cases: WIT has no empty ones"));
            }
            match cases.iter().any(|(_, _, carries)| *carries) {
                true => (Kind::Variant(cases), "variant", lines),
                false => {
                    let cases = cases.into_iter().map(|(ident, name, _)| (ident, name));
                    (Kind::Enum(cases.collect()), "enum", lines)
                }
            }
        }
        _ => return Ok(None),
    };
    let wit = format!("{}    {word} {} {{\n{lines}    }}\n", docs(attrs, "    "), escaped(&wit_name));
    Ok(Some((Declaration { ident: ident.clone(), name: wit_name, kind, is_bound: true }, wit)))
}

/// The `///` of an item.
fn docs(attributes: &[Attribute], indent: &str) -> String {
    let lines = attributes.iter().filter_map(|attribute| match &attribute.meta {
        Meta::NameValue(pair) if pair.path.is_ident("doc") => match &pair.value {
            Expr::Lit(literal) => match &literal.lit {
                Lit::Str(text) => Some(format!("{indent}///{}\n", text.value().trim_end())),
                _ => None,
            },
            _ => None,
        },
        _ => None,
    });
    lines.collect()
}
