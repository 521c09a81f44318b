//! JSON Schemas of shapes, for the JSON that the conversion reads and writes.
//!
//! A schema describes the canonical form. It would be unreadable if it covered three details: the conversion
//! also accepts names in snake_case and a case without a payload as `{"case": null}`; it refuses a float that no
//! 64 bits hold, which JSON Schema calls a number.

use serde_json::{Map, Value, json};

use super::{Field, Shape};

/// The version of JSON Schema that is written.
const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";

/// Base64 as it is read: the standard alphabet, padded or not, without meaningless bits.
const BASE64_PATTERN: &str =
    "^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/][AQgw]={0,2}|[A-Za-z0-9+/]{2}[AEIMQUYcgkosw048]=?)?$";

/// Makes the schema of a task's arguments, as an array or as an object. Types with `names` are in `$defs`.
pub(in crate::wasm) fn arguments_schema(parameters: &[Field], names: &[Field]) -> Value {
    let mut writer = Writer { names, is_input: true, defs: Map::new() };
    let elements: Vec<_> = parameters.iter().map(|parameter| writer.schema(&parameter.shape)).collect();
    let needed = parameters.iter().rposition(|parameter| !parameter.shape.is_option());
    let by_position = array(elements, needed.map_or(0, |last| last + 1));
    let by_name = writer.object(parameters);
    writer.document(one_of("anyOf", vec![by_position, by_name]))
}

/// Makes the schema of a value that a task returns; `null` if it returns none.
pub(in crate::wasm) fn value_schema(shape: Option<&Shape>, names: &[Field]) -> Value {
    let mut writer = Writer { names, is_input: false, defs: Map::new() };
    let schema = writer.payload(shape);
    writer.document(schema)
}

/// Makes the schema of what a program wrote to its standard output: text, or bytes that are no UTF-8.
pub(in crate::wasm) fn output_schema() -> Value {
    let writer = Writer { names: &[], is_input: false, defs: Map::new() };
    writer.document(one_of("anyOf", vec![json!({"type": "string"}), base64()]))
}

/// Bytes as base64.
fn base64() -> Value {
    member("$base64", json!({"type": "string", "contentEncoding": "base64", "pattern": BASE64_PATTERN}))
}

struct Writer<'a> {
    names: &'a [Field],
    /// Whether the values are input: options may be left out, and bytes may be base64.
    is_input: bool,
    defs: Map<String, Value>,
}

impl Writer<'_> {
    fn document(self, schema: Value) -> Value {
        let mut document = Map::new();
        document.insert("$schema".to_owned(), DIALECT.into());
        if let Value::Object(members) = schema {
            document.extend(members);
        }
        if !self.defs.is_empty() {
            document.insert("$defs".to_owned(), self.defs.into());
        }
        document.into()
    }

    /// By reference if the type has a name.
    fn schema(&mut self, shape: &Shape) -> Value {
        let Some(name) = name_of(shape, self.names) else {
            return self.inline(shape);
        };
        if !self.defs.contains_key(name) {
            // Its place comes before those of the types within it.
            self.defs.insert(name.to_owned(), Value::Null);
            let schema = self.inline(shape);
            self.defs.insert(name.to_owned(), schema);
        }
        json!({"$ref": format!("#/$defs/{name}")})
    }

    fn inline(&mut self, shape: &Shape) -> Value {
        match shape {
            Shape::Bool => json!({"type": "boolean"}),
            Shape::U8 => integer(u8::MIN, u8::MAX),
            Shape::S8 => integer(i8::MIN, i8::MAX),
            Shape::U16 => integer(u16::MIN, u16::MAX),
            Shape::S16 => integer(i16::MIN, i16::MAX),
            Shape::U32 => integer(u32::MIN, u32::MAX),
            Shape::S32 => integer(i32::MIN, i32::MAX),
            Shape::U64 => integer(u64::MIN, u64::MAX),
            Shape::S64 => integer(i64::MIN, i64::MAX),
            Shape::F32 => float(json!({"type": "number", "minimum": f32::MIN, "maximum": f32::MAX})),
            Shape::F64 => float(json!({"type": "number"})),
            Shape::Char => json!({"type": "string", "minLength": 1, "maxLength": 1}),
            Shape::String => json!({"type": "string"}),
            Shape::List(element) => {
                let list = json!({"type": "array", "items": self.schema(element)});
                if **element == Shape::U8 && self.is_input {
                    return one_of("anyOf", vec![list, base64()]);
                }
                list
            }
            Shape::Record(fields) => self.object(fields),
            Shape::Tuple(shapes) => {
                array(shapes.iter().map(|shape| self.schema(shape)).collect(), shapes.len())
            }
            Shape::Variant(cases) => {
                let bare = cases.iter().filter(|case| case.payload.is_none()).map(|case| &*case.name);
                let bare: Vec<&str> = bare.collect();
                let bare = (!bare.is_empty()).then(|| json!({"type": "string", "enum": bare}));
                let mut choices: Vec<_> = bare.into_iter().collect();
                for case in cases {
                    let payload = case.payload.as_ref();
                    choices.extend(payload.map(|payload| member(&case.name, self.schema(payload))));
                }
                one_of("oneOf", choices)
            }
            Shape::Enum(names) => json!({"type": "string", "enum": names}),
            Shape::Option(value) if value.is_option() => {
                let some = member("some", self.schema(value));
                one_of("anyOf", vec![json!({"type": "null"}), some])
            }
            Shape::Option(value) => one_of("anyOf", vec![self.schema(value), json!({"type": "null"})]),
            Shape::Result { ok, err } => {
                let (ok, err) = (self.payload(ok.as_deref()), self.payload(err.as_deref()));
                one_of("oneOf", vec![member("ok", ok), member("err", err)])
            }
            Shape::Flags(names) => {
                let flag = json!({"type": "string", "enum": names});
                json!({"type": "array", "items": flag, "uniqueItems": true})
            }
        }
    }

    fn payload(&mut self, shape: Option<&Shape>) -> Value {
        shape.map_or_else(|| json!({"type": "null"}), |shape| self.schema(shape))
    }

    /// The schema of a record, or of arguments by name.
    fn object(&mut self, fields: &[Field]) -> Value {
        let may_be_left_out = |field: &&Field| self.is_input && field.shape.is_option();
        let required: Vec<_> =
            fields.iter().filter(|field| !may_be_left_out(field)).map(|field| &*field.name).collect();
        let properties: Map<_, _> =
            fields.iter().map(|field| (field.name.to_string(), self.schema(&field.shape))).collect();
        let mut schema = json!({"type": "object", "properties": properties, "additionalProperties": false});
        if !required.is_empty() {
            schema["required"] = json!(required);
        }
        schema
    }
}

/// The name of a type, if it has exactly one: wasmtime does not distinguish equal types, and a wrong name
/// would be worse than none.
fn name_of<'n>(shape: &Shape, names: &'n [Field]) -> Option<&'n str> {
    if !matches!(shape, Shape::Record(_) | Shape::Variant(_) | Shape::Enum(_) | Shape::Flags(_)) {
        return None;
    }
    let mut named = names.iter().filter(|named| named.shape == *shape);
    let first = named.next()?;
    named.next().is_none().then_some(&*first.name)
}

fn integer(minimum: impl Into<Value>, maximum: impl Into<Value>) -> Value {
    json!({"type": "integer", "minimum": minimum.into(), "maximum": maximum.into()})
}

fn float(number: Value) -> Value {
    one_of("anyOf", vec![number, json!({"enum": ["NaN", "Infinity", "-Infinity"]})])
}

/// An array whose elements each have their own schema; from `needed` on they may be
/// left out.
fn array(elements: Vec<Value>, needed: usize) -> Value {
    let count = elements.len();
    let mut schema = json!({"type": "array"});
    if count > 0 {
        schema["prefixItems"] = elements.into();
        schema["minItems"] = needed.into();
    }
    schema["maxItems"] = count.into();
    schema
}

/// An object with exactly this member.
fn member(name: &str, schema: Value) -> Value {
    json!({"type": "object", "properties": {name: schema}, "required": [name], "additionalProperties": false})
}

/// Several choices under a keyword; one alone needs none.
fn one_of(keyword: &str, mut choices: Vec<Value>) -> Value {
    match (choices.len(), choices.pop()) {
        (1, Some(only)) => only,
        (_, last) => {
            choices.extend(last);
            json!({keyword: choices})
        }
    }
}
