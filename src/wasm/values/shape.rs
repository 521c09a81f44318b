//! Types whose values can travel as JSON, as plain data.

use std::fmt;

use wasmtime::component::Type;

/// The most nodes of one type. Types share their parts, so a file of kilobytes can describe one that is
/// gigabytes when written out.
const MAX_NODES: usize = 10_000;

/// The bytes of a name that count as one more node: names are copied wherever their type is used.
const NODE_BYTES: usize = 64;

/// The most nodes of all types together that an interface gives names to.
const MAX_NAMED_NODES: usize = 100_000;

/// A type of the component model, as plain data: each step through wasmtime's `Type` changes reference counts
/// that all threads share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::wasm) enum Shape {
    Bool,
    S8,
    U8,
    S16,
    U16,
    S32,
    U32,
    S64,
    U64,
    F32,
    F64,
    Char,
    String,
    List(Box<Shape>),
    Record(Box<[Field]>),
    Tuple(Box<[Shape]>),
    Variant(Box<[Case]>),
    Enum(Box<[Box<str>]>),
    Option(Box<Shape>),
    /// The payload of a success, and that of an error.
    Result {
        ok: Option<Box<Shape>>,
        err: Option<Box<Shape>>,
    },
    Flags(Box<[Box<str>]>),
}

/// A field of a record, or a parameter of a function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::wasm) struct Field {
    /// Its name, in kebab-case as in WIT.
    pub name: Box<str>,
    pub shape: Shape,
}

/// A case of a variant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::wasm) struct Case {
    pub name: Box<str>,
    pub payload: Option<Shape>,
}

/// Subtracts from the nodes that are left.
fn charge(nodes: &mut usize, count: usize) -> Result<(), String> {
    let left = nodes.checked_sub(count);
    *nodes = left.unwrap_or(0);
    left.map(drop).ok_or_else(|| format!("its type has more than {MAX_NODES} parts"))
}

impl Shape {
    /// Reads a type of wasmtime, and subtracts its parts from those that are `left` to its component.
    ///
    /// # Errors
    ///
    /// The reason why values of the type can't travel as JSON.
    pub(in crate::wasm) fn within(ty: &Type, left: &mut usize) -> Result<Self, String> {
        let mut nodes = MAX_NODES.min(*left);
        let before = nodes;
        let shape = Self::take(ty, &mut nodes);
        *left -= before - nodes;
        match shape {
            Err(_) if *left == 0 => Err("the types of its component have too many parts together".to_owned()),
            shape => shape,
        }
    }

    /// Reads named types of wasmtime, those whose values can travel as JSON. Names are a help: past a bound
    /// there are no more.
    pub(in crate::wasm) fn named<'t>(types: impl IntoIterator<Item = (&'t str, Type)>) -> Vec<Field> {
        let mut left = MAX_NAMED_NODES;
        let taken = types.into_iter().filter_map(|(name, ty)| {
            let mut nodes = left.min(MAX_NODES);
            let given = nodes;
            let shape = Self::take(&ty, &mut nodes);
            left -= given - nodes;
            Some(Field { name: name.into(), shape: shape.ok()? })
        });
        taken.collect()
    }

    /// Copies a name, and subtracts what it counts.
    pub(in crate::wasm) fn name_within(name: &str, nodes: &mut usize) -> Result<Box<str>, String> {
        charge(nodes, 1 + name.len() / NODE_BYTES)?;
        Ok(name.into())
    }

    fn take(ty: &Type, nodes: &mut usize) -> Result<Self, String> {
        charge(nodes, 1)?;
        let boxed = |ty: &Type, nodes: &mut usize| Self::take(ty, nodes).map(Box::new);
        fn names<'n>(
            names: impl Iterator<Item = &'n str>,
            nodes: &mut usize,
        ) -> Result<Box<[Box<str>]>, String> {
            names.map(|name| Shape::name_within(name, nodes)).collect()
        }
        Ok(match ty {
            Type::Bool => Self::Bool,
            Type::S8 => Self::S8,
            Type::U8 => Self::U8,
            Type::S16 => Self::S16,
            Type::U16 => Self::U16,
            Type::S32 => Self::S32,
            Type::U32 => Self::U32,
            Type::S64 => Self::S64,
            Type::U64 => Self::U64,
            Type::Float32 => Self::F32,
            Type::Float64 => Self::F64,
            Type::Char => Self::Char,
            Type::String => Self::String,
            Type::List(list) => Self::List(boxed(&list.ty(), nodes)?),
            Type::Record(record) => {
                let fields = record.fields().map(|field| {
                    let name = Self::name_within(field.name, nodes)?;
                    Ok(Field { name, shape: Self::take(&field.ty, nodes)? })
                });
                Self::Record(fields.collect::<Result<_, String>>()?)
            }
            Type::Tuple(tuple) => {
                Self::Tuple(tuple.types().map(|ty| Self::take(&ty, nodes)).collect::<Result<_, _>>()?)
            }
            Type::Variant(variant) => {
                let cases = variant.cases().map(|case| {
                    let name = Self::name_within(case.name, nodes)?;
                    let payload = case.ty.map(|ty| Self::take(&ty, nodes)).transpose()?;
                    Ok(Case { name, payload })
                });
                Self::Variant(cases.collect::<Result<_, String>>()?)
            }
            Type::Enum(cases) => Self::Enum(names(cases.names(), nodes)?),
            Type::Option(option) => Self::Option(boxed(&option.ty(), nodes)?),
            Type::Result(result) => Self::Result {
                ok: result.ok().map(|ty| boxed(&ty, nodes)).transpose()?,
                err: result.err().map(|ty| boxed(&ty, nodes)).transpose()?,
            },
            Type::Flags(flags) => Self::Flags(names(flags.names(), nodes)?),
            Type::Own(_) | Type::Borrow(_) => return Err("it takes or returns a resource".into()),
            Type::Future(_) => return Err("it takes or returns a future".into()),
            Type::Stream(_) => return Err("it takes or returns a stream".into()),
            Type::ErrorContext => return Err("it takes or returns an error-context".into()),
            Type::Map(_) => return Err("it takes or returns a map".into()),
            Type::FixedLengthList(_) => return Err("it takes or returns a list of fixed length".into()),
        })
    }

    /// The type in WIT, cut short for messages: records and the like inside each other are `record {…}`.
    /// [`Display`](fmt::Display) gives all of it.
    pub(in crate::wasm) fn name(&self) -> String {
        Name { shape: self, depth: 1, parts: 6, named: &|_| None }.to_string()
    }

    /// The type in WIT, with the names that `named` knows for it or its parts.
    pub(in crate::wasm) fn name_with(&self, named: &dyn Fn(&Shape) -> Option<String>) -> String {
        Name { shape: self, depth: usize::MAX, parts: usize::MAX, named }.to_string()
    }

    /// Whether a value may be left out.
    pub(in crate::wasm) fn is_option(&self) -> bool {
        matches!(self, Self::Option(_))
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Name { shape: self, depth: usize::MAX, parts: usize::MAX, named: &|_| None }.fmt(f)
    }
}

/// A type's name, written `depth` records deep with at most `parts` in each.
struct Name<'a> {
    shape: &'a Shape,
    depth: usize,
    parts: usize,
    named: &'a dyn Fn(&Shape) -> Option<String>,
}

impl Name<'_> {
    fn inner<'a>(&'a self, shape: &'a Shape) -> Name<'a> {
        Name { shape, depth: self.depth, parts: self.parts, named: self.named }
    }

    fn part<'a>(&'a self, shape: &'a Shape) -> Name<'a> {
        Name { depth: self.depth.saturating_sub(1), ..self.inner(shape) }
    }

    /// `word {a, b, …}`
    fn braces<T>(
        &self,
        f: &mut fmt::Formatter<'_>,
        word: &str,
        parts: &[T],
        mut part: impl FnMut(&mut fmt::Formatter<'_>, &T) -> fmt::Result,
    ) -> fmt::Result {
        if self.depth == 0 {
            return write!(f, "{word} {{…}}");
        }
        write!(f, "{word} {{")?;
        for (index, item) in parts.iter().enumerate() {
            if index > 0 {
                f.write_str(", ")?;
            }
            if index >= self.parts {
                f.write_str("…")?;
                break;
            }
            part(f, item)?;
        }
        f.write_str("}")
    }
}

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(name) = (self.named)(self.shape) {
            return f.write_str(&name);
        }
        match self.shape {
            Shape::Bool => f.write_str("bool"),
            Shape::S8 => f.write_str("s8"),
            Shape::U8 => f.write_str("u8"),
            Shape::S16 => f.write_str("s16"),
            Shape::U16 => f.write_str("u16"),
            Shape::S32 => f.write_str("s32"),
            Shape::U32 => f.write_str("u32"),
            Shape::S64 => f.write_str("s64"),
            Shape::U64 => f.write_str("u64"),
            Shape::F32 => f.write_str("f32"),
            Shape::F64 => f.write_str("f64"),
            Shape::Char => f.write_str("char"),
            Shape::String => f.write_str("string"),
            Shape::List(element) => write!(f, "list<{}>", self.inner(element)),
            Shape::Option(value) => write!(f, "option<{}>", self.inner(value)),
            Shape::Tuple(types) => {
                f.write_str("tuple<")?;
                for (index, ty) in types.iter().enumerate() {
                    let separator = if index == 0 { "" } else { ", " };
                    write!(f, "{separator}{}", self.inner(ty))?;
                }
                f.write_str(">")
            }
            Shape::Result { ok, err } => match (ok, err) {
                (None, None) => f.write_str("result"),
                (Some(ok), None) => write!(f, "result<{}>", self.inner(ok)),
                (None, Some(err)) => write!(f, "result<_, {}>", self.inner(err)),
                (Some(ok), Some(err)) => write!(f, "result<{}, {}>", self.inner(ok), self.inner(err)),
            },
            Shape::Record(fields) => self.braces(f, "record", fields, |f, field| {
                write!(f, "{}: {}", field.name, self.part(&field.shape))
            }),
            Shape::Variant(cases) => self.braces(f, "variant", cases, |f, case| match &case.payload {
                Some(payload) => write!(f, "{}({})", case.name, self.part(payload)),
                None => f.write_str(&case.name),
            }),
            Shape::Enum(names) => self.braces(f, "enum", names, |f, name| f.write_str(name)),
            Shape::Flags(names) => self.braces(f, "flags", names, |f, name| f.write_str(name)),
        }
    }
}

/// Checks that an imported type is the exported one.
///
/// # Errors
///
/// Their difference, as a path to write behind the name of what was compared: ``[].x: imported as f64,
/// exported as f32``.
pub(in crate::wasm) fn same_shape(imported: &Shape, exported: &Shape) -> Result<(), String> {
    let mut path = String::new();
    compare(imported, exported, &mut path).map_err(|difference| format!("{path}: {difference}"))
}

fn compare(imported: &Shape, exported: &Shape, path: &mut String) -> Result<(), String> {
    // On success the path is cut back; on failure it stays, to be reported.
    let mut enter = |step: &str, imported: &Shape, exported: &Shape| {
        let end = path.len();
        path.push_str(step);
        compare(imported, exported, path)?;
        path.truncate(end);
        Ok(())
    };
    let differ = || Err(format!("imported as {}, exported as {}", imported.name(), exported.name()));
    match (imported, exported) {
        (Shape::List(a), Shape::List(b)) => enter("[]", a, b),
        (Shape::Option(a), Shape::Option(b)) => enter(".some", a, b),
        (Shape::Tuple(a), Shape::Tuple(b)) if a.len() == b.len() => {
            a.iter().zip(b).enumerate().try_for_each(|(index, (a, b))| enter(&format!("[{index}]"), a, b))
        }
        (Shape::Record(a), Shape::Record(b)) if names_match(a, b, |field| &field.name) => {
            a.iter().zip(b).try_for_each(|(a, b)| enter(&format!(".{}", a.name), &a.shape, &b.shape))
        }
        (Shape::Variant(a), Shape::Variant(b)) if names_match(a, b, |case| &case.name) => {
            a.iter().zip(b).try_for_each(|(a, b)| match (&a.payload, &b.payload) {
                (Some(x), Some(y)) => enter(&format!(".{}", a.name), x, y),
                (None, None) => Ok(()),
                _ => differ(),
            })
        }
        (Shape::Result { ok, err }, Shape::Result { ok: other_ok, err: other_err }) => {
            for (step, a, b) in [(".ok", ok, other_ok), (".err", err, other_err)] {
                match (a, b) {
                    (Some(a), Some(b)) => enter(step, a, b)?,
                    (None, None) => {}
                    _ => return differ(),
                }
            }
            Ok(())
        }
        (a, b) if a == b => Ok(()),
        _ => differ(),
    }
}

fn names_match<T>(a: &[T], b: &[T], name: impl Fn(&T) -> &str) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| name(a) == name(b))
}
