//! The code that a module of tasks becomes: the module itself, the bindings of its interface,
//! and a module with the submits of each task.

use proc_macro2::{Literal, TokenStream};
use quote::quote;
use syn::{Attribute, Visibility};

use crate::names::{camel, constant, snake};
use crate::read::{self, Declaration, Function, Kind, Stub, Tasks};
use crate::types;

pub fn expand(tasks: &Tasks) -> TokenStream {
    let Tasks { module, package, wit, .. } = tasks;
    let (wit_bytes, wit_length) = (Literal::byte_string(wit.as_bytes()), wit.len());
    let (attributes, visibility, ident) = (&module.attrs, &module.vis, &module.ident);
    let items = module.content.iter().flat_map(|(_, items)| items);
    let (namespace, name) = (snake(&package.namespace), snake(&package.name));
    let interface = quote!(__bindings::exports::#namespace::#name::tasks);
    let values = tasks.types.iter().map(|declaration| value(declaration, &interface));
    let served = tasks.functions.iter().map(serve);
    let path = format!("{}:{}/tasks", package.namespace, package.name);
    let submits = tasks.functions.iter().map(|function| {
        let task = format!("{path}.{}", function.name);
        submit(function, &task, &[], &Visibility::Public(Default::default()))
    });
    quote! {
        #(#attributes)*
        #visibility mod #ident {
            #(#items)*

            #[doc(hidden)]
            mod __bindings {
                ::wasm_runner::wit_bindgen::generate!({
                    inline: #wit,
                    runtime_path: "::wasm_runner::wit_bindgen::rt",
                });
            }

            #(#values)*

            const _: () = {
                struct Exported;
                impl #interface::Guest for Exported {
                    #(#served)*
                }
                __bindings::export!(Exported with_types_in __bindings);
            };

            // For `run-wasm-runner build`, which gives the component the comments in it.
            #[cfg(target_arch = "wasm32")]
            const _: () = {
                #[used]
                #[unsafe(link_section = "wasm-runner:wit")]
                static WIT: [u8; #wit_length] = *#wit_bytes;
            };

            #(#submits)*
        }
    }
}

/// The module for a task of another component.
pub fn remote(task: &str, stub: &Stub) -> syn::Result<TokenStream> {
    Ok(submit(&read::read_function(&stub.signature)?, task, &stub.attributes, &stub.visibility))
}

/// `Value` for a type of the module.
fn value(declaration: &Declaration, interface: &TokenStream) -> TokenStream {
    let ident = &declaration.ident;
    let binding = camel(&declaration.name);
    let binding = quote!(#interface::#binding);
    let (lift, lower, to_json, from_json) = match &declaration.kind {
        Kind::Record(fields) => {
            let own: Vec<_> = fields.iter().map(|(ident, _)| ident).collect();
            let names: Vec<_> = fields.iter().map(|(_, name)| name).collect();
            let theirs: Vec<_> = fields.iter().map(|(_, name)| snake(name)).collect();
            (
                quote!(Self { #(#own: ::wasm_runner::Value::lift(wit.#theirs)),* }),
                quote!(#binding { #(#theirs: ::wasm_runner::Value::lower(self.#own)),* }),
                quote!(::wasm_runner::object([#((#names, ::wasm_runner::Value::to_json(&self.#own))),*])),
                quote! {
                    Ok(Self { #(#own: ::wasm_runner::Value::from_json(::wasm_runner::member(json, #names)?)?),* })
                },
            )
        }
        Kind::Flags(flags) => {
            let own: Vec<_> = flags.iter().map(|(ident, _)| ident).collect();
            let names: Vec<_> = flags.iter().map(|(_, name)| name).collect();
            let theirs: Vec<_> = flags.iter().map(|(_, name)| constant(name)).collect();
            (
                quote!(Self { #(#own: wit.contains(#binding::#theirs)),* }),
                quote!([#((self.#own, #binding::#theirs)),*].into_iter().filter(|(is_set, _)| *is_set).map(|(_, flag)| flag).collect()),
                quote!(::wasm_runner::flags([#((#names, self.#own)),*])),
                quote! {
                    let [#(#own),*] = ::wasm_runner::flagged(json, [#(#names),*])?;
                    Ok(Self { #(#own),* })
                },
            )
        }
        Kind::Enum(cases) => {
            let own: Vec<_> = cases.iter().map(|(ident, _)| ident).collect();
            let names: Vec<_> = cases.iter().map(|(_, name)| name).collect();
            let theirs: Vec<_> = cases.iter().map(|(_, name)| camel(name)).collect();
            (
                quote!(match wit { #(#binding::#theirs => Self::#own),* }),
                quote!(match self { #(Self::#own => #binding::#theirs),* }),
                quote!(match self { #(Self::#own => ::wasm_runner::Json::from(#names)),* }),
                quote! {
                    match json.as_str() {
                        #(Some(#names) => Ok(Self::#own),)*
                        _ => Err(::std::format!("{json} is no case of {}", stringify!(#ident))),
                    }
                },
            )
        }
        Kind::Variant(cases) => {
            let mut arms = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
            for (own, name, carries) in cases {
                let theirs = camel(name);
                if *carries {
                    arms.0.push(quote!(#binding::#theirs(it) => Self::#own(::wasm_runner::Value::lift(it))));
                    arms.1.push(quote!(Self::#own(it) => #binding::#theirs(::wasm_runner::Value::lower(it))));
                    arms.2.push(quote! {
                        Self::#own(it) => ::wasm_runner::object([(#name, ::wasm_runner::Value::to_json(it))])
                    });
                    arms.3.push(quote!(#name => Ok(Self::#own(::wasm_runner::Value::from_json(it)?))));
                } else {
                    arms.0.push(quote!(#binding::#theirs => Self::#own));
                    arms.1.push(quote!(Self::#own => #binding::#theirs));
                    arms.2.push(quote!(Self::#own => ::wasm_runner::Json::from(#name)));
                    arms.3.push(quote!(#name => Ok(Self::#own)));
                }
            }
            let (lift, lower, to_json, from_json) = arms;
            (
                quote!(match wit { #(#lift),* }),
                quote!(match self { #(#lower),* }),
                quote!(match self { #(#to_json),* }),
                quote! {
                    let (name, it) = ::wasm_runner::tagged(json)?;
                    match name {
                        #(#from_json,)*
                        _ => Err(::std::format!("{json} is no case of {}", stringify!(#ident))),
                    }
                },
            )
        }
    };
    // Types that are only in the WIT of other components have no bindings.
    let (wit, lift, lower) = match declaration.is_bound {
        true => (binding, lift, lower),
        false => (quote!(Self), quote!(wit), quote!(self)),
    };
    quote! {
        impl ::wasm_runner::Value for #ident {
            type Wit = #wit;

            fn lift(wit: Self::Wit) -> Self {
                #lift
            }

            fn lower(self) -> Self::Wit {
                #lower
            }

            fn to_json(&self) -> ::wasm_runner::Json {
                #to_json
            }

            #[allow(unused_variables, reason = "no case may carry anything")]
            fn from_json(json: &::wasm_runner::Json) -> ::std::result::Result<Self, ::std::string::String> {
                #from_json
            }
        }
    }
}

/// The function that the bindings call.
fn serve(function: &Function) -> TokenStream {
    let Function { ident, name, parameters, result } = function;
    let theirs = snake(name);
    let names: Vec<_> = parameters.iter().map(|(name, _)| name).collect();
    let types = parameters.iter().map(|(_, ty)| ty);
    let result = result.as_ref().map(|ty| quote!(#ty)).unwrap_or_else(|| quote!(()));
    quote! {
        fn #theirs(#(#names: <#types as ::wasm_runner::Value>::Wit),*) -> <#result as ::wasm_runner::Value>::Wit {
            let result = #ident(#(::wasm_runner::Value::lift(#names)),*);
            // Nobody else writes what the library has kept back of the last line: a component does not end.
            let _ = ::std::io::Write::flush(&mut ::std::io::stdout());
            ::wasm_runner::Value::lower(result)
        }
    }
}

/// The module that submits a task.
fn submit(function: &Function, task: &str, attributes: &[Attribute], visibility: &Visibility) -> TokenStream {
    let Function { ident, parameters, result, .. } = function;
    let names: Vec<_> = parameters.iter().map(|(name, _)| name).collect();
    let given: Vec<_> = parameters.iter().map(|(_, ty)| ty).collect();
    let unit = quote!(());
    let (ok, err) = match result.as_ref().map(|ty| (ty, types::of_result(ty))) {
        None => (unit, quote!(::std::convert::Infallible)),
        Some((_, Some((ok, err)))) => (quote!(#ok), quote!(#err)),
        Some((ty, None)) => (quote!(#ty), quote!(::std::convert::Infallible)),
    };
    quote! {
        /// Submits invocations of the task of the same name.
        ///
        #(#attributes)*
        #[allow(dead_code, unused_imports, reason = "not every task is a child, nor uses every type")]
        #visibility mod #ident {
            use super::*;

            /// The task that it submits: an id, or a function, which the runner looks for in its
            /// own component first.
            pub const ID: &str = #task;

            /// Submits one invocation, which runs beside this one.
            pub fn submit(#(#names: #given),*) -> ::wasm_runner::Submitted<#ok, #err> {
                submit_with(::wasm_runner::Options::default() #(, #names)*)
            }

            /// Submits one invocation with options.
            pub fn submit_with(
                options: ::wasm_runner::Options #(, #names: #given)*
            ) -> ::wasm_runner::Submitted<#ok, #err> {
                let arguments = ::std::vec![#(::wasm_runner::Value::to_json(&#names)),*];
                ::wasm_runner::submit(ID, ::wasm_runner::arguments(arguments), options)
            }

            /// Submits one invocation for each element of `many`, all or none.
            pub fn submit_all(
                many: impl ::std::iter::IntoIterator<Item = (#(#given,)*)>,
            ) -> ::std::result::Result<
                ::std::vec::Vec<::wasm_runner::Invocation<#ok, #err>>,
                ::wasm_runner::Refusal,
            > {
                let many = many.into_iter().map(|(#(#names,)*)| {
                    ::wasm_runner::arguments(::std::vec![#(::wasm_runner::Value::to_json(&#names)),*])
                });
                let many: ::std::vec::Vec<_> = many.collect();
                ::wasm_runner::submit_all(ID, &many, ::wasm_runner::Options::default())
            }
        }
    }
}
