use proptest::prelude::*;
use serde_json::{Value, json};

use super::tests::{any_shape, any_shape_and_val, read, write};
use super::*;

fn field(name: &str, shape: Shape) -> Field {
    Field { name: name.into(), shape }
}

/// Whether a document fits a schema, by the keywords that are used here; a keyword
/// that is not known is a mistake.
fn fits(schema: &Value, root: &Value, document: &Value) -> bool {
    let members = schema.as_object().expect("a schema is an object");
    members.iter().all(|(keyword, wanted)| match &**keyword {
        "$schema" | "$defs" | "contentEncoding" => true,
        "$ref" => {
            let path = wanted.as_str().and_then(|path| path.strip_prefix('#')).expect("a path");
            fits(root.pointer(path).expect("what is referred to is there"), root, document)
        }
        "type" => match wanted.as_str().expect("a type") {
            "null" => document.is_null(),
            "boolean" => document.is_boolean(),
            "string" => document.is_string(),
            "number" => document.is_number(),
            // `1.0` is one, for JSON Schema and for the conversion.
            "integer" => {
                document.is_i64()
                    || document.is_u64()
                    || document.as_f64().is_some_and(|number| number.fract() == 0.0)
            }
            "array" => document.is_array(),
            "object" => document.is_object(),
            other => panic!("unknown type {other}"),
        },
        "minimum" => document.as_number().is_none_or(|_| !less(document, wanted)),
        "maximum" => document.as_number().is_none_or(|_| !less(wanted, document)),
        "minLength" => document.as_str().is_none_or(|text| text.chars().count() as u64 >= number(wanted)),
        "maxLength" => document.as_str().is_none_or(|text| text.chars().count() as u64 <= number(wanted)),
        "minItems" => document.as_array().is_none_or(|array| array.len() as u64 >= number(wanted)),
        "maxItems" => document.as_array().is_none_or(|array| array.len() as u64 <= number(wanted)),
        "uniqueItems" => document.as_array().is_none_or(|array| {
            array.iter().enumerate().all(|(index, element)| !array[..index].contains(element))
        }),
        "items" => {
            document.as_array().is_none_or(|array| array.iter().all(|element| fits(wanted, root, element)))
        }
        "prefixItems" => document.as_array().is_none_or(|array| {
            let schemas = wanted.as_array().expect("schemas");
            array.iter().zip(schemas).all(|(element, schema)| fits(schema, root, element))
        }),
        "properties" => document.as_object().is_none_or(|object| {
            object.iter().all(|(name, value)| wanted.get(name).is_none_or(|schema| fits(schema, root, value)))
        }),
        "additionalProperties" => {
            assert_eq!(*wanted, json!(false));
            let known = &schema["properties"];
            document.as_object().is_none_or(|object| object.keys().all(|name| known.get(name).is_some()))
        }
        "required" => document.as_object().is_none_or(|object| {
            let mut names = wanted.as_array().expect("names").iter();
            names.all(|name| object.contains_key(name.as_str().expect("a name")))
        }),
        "enum" => wanted.as_array().expect("values").contains(document),
        "anyOf" => wanted.as_array().expect("schemas").iter().any(|choice| fits(choice, root, document)),
        "oneOf" => {
            let choices = wanted.as_array().expect("schemas").iter();
            choices.filter(|choice| fits(choice, root, document)).count() == 1
        }
        "pattern" => document.as_str().is_none_or(is_base64),
        other => panic!("unknown keyword {other}"),
    })
}

fn number(value: &Value) -> u64 {
    value.as_u64().expect("a number")
}

fn less(a: &Value, b: &Value) -> bool {
    let whole = |value: &Value| value.as_i64().map(i128::from).or(value.as_u64().map(i128::from));
    match (whole(a), whole(b)) {
        (Some(a), Some(b)) => a < b,
        _ => a.as_f64().expect("a number") < b.as_f64().expect("a number"),
    }
}

/// Padded or not, and not one bit too much.
fn is_base64(text: &str) -> bool {
    read(&json!({"$base64": text}).to_string(), &Shape::List(Box::new(Shape::U8))).is_ok()
}

fn takes(schema: &Value, document: &Value) -> bool {
    fits(schema, schema, document)
}

/// As the runner itself would write it, apart from how numbers are written.
fn is_canonical(document: &Value, shape: &Shape) -> bool {
    fn same(a: &Value, b: &Value) -> bool {
        match (a, b) {
            (Value::Number(_), Value::Number(_)) => true,
            (Value::Array(a), Value::Array(b)) => {
                a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
            }
            (Value::Object(a), Value::Object(b)) => {
                a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same(a, b)))
            }
            (a, b) => a == b,
        }
    }
    let read = read(&document.to_string(), shape);
    read.is_ok_and(|val| same(document, &serde_json::from_str(&write(&val)).expect("JSON")))
}

/// Changes the `at`-th part of a document.
fn mutate(document: &mut Value, at: &mut usize, by: &Value) {
    if *at == 0 {
        *at = usize::MAX;
        match (document, by) {
            (Value::Array(array), Value::Bool(true)) => array.push(json!(1)),
            (Value::Array(array), Value::Bool(false)) => drop(array.pop()),
            (Value::Object(object), Value::Bool(true)) => drop(object.insert("zzzz".to_owned(), json!(1))),
            (Value::Object(object), Value::Bool(false)) => {
                let first = object.keys().next().cloned();
                first.and_then(|first| object.remove(&first));
            }
            (document, by) => *document = by.clone(),
        }
        return;
    }
    *at -= 1;
    match document {
        Value::Array(array) => array.iter_mut().for_each(|element| mutate(element, at, by)),
        Value::Object(object) => object.values_mut().for_each(|element| mutate(element, at, by)),
        _ => {}
    }
}

fn junk() -> impl Strategy<Value = Value> {
    proptest::sample::select(vec![
        json!(null),
        json!(true),
        json!(false),
        json!(0),
        json!(-1),
        json!(256),
        json!(1.5),
        json!(1e300),
        json!(u64::MAX),
        json!("NaN"),
        json!("a"),
        json!(""),
        json!([]),
        json!([1, 2]),
        json!({}),
        json!({"some": null}),
        json!({"ok": null}),
        json!({"$base64": "AP8="}),
    ])
}

/// As arguments, whatever fits the schema is taken, and whatever is taken and written
/// as the runner would write it fits the schema.
fn assert_same_verdict(document: &Value, shape: &Shape) {
    let parameters = [field("a-b", shape.clone())];
    let schema = arguments_schema(&parameters, &[field("whole", shape.clone())]);
    for arguments in [json!([document]), json!({"a-b": document})] {
        let is_valid = takes(&schema, &arguments);
        let is_read = canonical_arguments(&arguments.to_string(), &parameters).is_ok();
        assert!(is_read || !is_valid, "{arguments} fits {schema} and is not read as {shape}");
        if is_canonical(document, shape) {
            assert!(is_valid, "{arguments} is read as {shape} and does not fit {schema}");
        }
    }
}

proptest! {
    #[test]
    fn what_is_written_fits_the_schema((shape, val) in any_shape_and_val()) {
        let document = serde_json::from_str(&write(&val)).unwrap();
        let schema = value_schema(Some(&shape), &[]);
        prop_assert!(takes(&schema, &document), "{} {}", document, schema);
        assert_same_verdict(&document, &shape);
    }

    #[test]
    fn what_does_not_fit_the_schema_is_not_read(
        (shape, val) in any_shape_and_val(),
        other in any_shape(),
        at in 0_usize..12,
        by in junk(),
    ) {
        let mut document = serde_json::from_str(&write(&val)).unwrap();
        assert_same_verdict(&document, &other);
        mutate(&mut document, &mut { at }, &by);
        assert_same_verdict(&document, &shape);
    }
}

#[test]
fn a_schema_says_what_its_type_says() {
    let point = Shape::Record([field("x", Shape::F64), field("label", option(Shape::String))].into());
    let names = [field("point", point.clone()), field("id", Shape::String)];
    let schema = arguments_schema(
        &[field("points", Shape::List(Box::new(point.clone()))), field("n", option(Shape::U64))],
        &names,
    );
    let points = json!({"type": "array", "items": {"$ref": "#/$defs/point"}});
    let n = json!({"anyOf": [{"type": "integer", "minimum": 0, "maximum": u64::MAX}, {"type": "null"}]});
    let float = json!({"anyOf": [{"type": "number"}, {"enum": ["NaN", "Infinity", "-Infinity"]}]});
    let label = json!({"anyOf": [{"type": "string"}, {"type": "null"}]});
    let expected = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "anyOf": [
            {"type": "array", "prefixItems": [points, n], "minItems": 1, "maxItems": 2},
            {
                "type": "object",
                "properties": {"points": points, "n": n},
                "additionalProperties": false,
                "required": ["points"],
            },
        ],
        "$defs": {"point": {
            "type": "object",
            "properties": {"x": float, "label": label},
            "additionalProperties": false,
            "required": ["x"],
        }},
    });
    assert_eq!(schema, expected);
    // What is written has all of its fields.
    assert_eq!(value_schema(Some(&point), &names)["$defs"]["point"]["required"], json!(["x", "label"]));
    // Of two names for one type neither is chosen.
    let twice = [field("point", point.clone()), field("vector", point.clone())];
    assert_eq!(value_schema(Some(&point), &twice)["type"], json!("object"));
    assert_eq!(value_schema(None, &names)["type"], json!("null"));
}

#[test]
fn arguments_of_nothing_are_empty() {
    let schema = arguments_schema(&[], &[]);
    assert!(takes(&schema, &json!([])) && takes(&schema, &json!({})));
    assert!(
        !takes(&schema, &json!([1])) && !takes(&schema, &json!({"a": 1})) && !takes(&schema, &json!(null))
    );
}

fn option(shape: Shape) -> Shape {
    Shape::Option(Box::new(shape))
}
