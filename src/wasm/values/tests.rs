use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, Linker, Type, Val};
use wasmtime::{Engine, Store};

use super::from_json::ValueError;
use super::*;
use crate::wasm::control::GuestControl;
use crate::wasm::host_memory::HostMemory;
use crate::wasm::testing::{TestImport, component, function};

fn record<'a>(fields: impl IntoIterator<Item = (&'a str, Shape)>) -> Shape {
    Shape::Record(fields.into_iter().map(|(name, shape)| Field { name: name.into(), shape }).collect())
}

fn variant<'a>(cases: impl IntoIterator<Item = (&'a str, Option<Shape>)>) -> Shape {
    Shape::Variant(cases.into_iter().map(|(name, payload)| Case { name: name.into(), payload }).collect())
}

fn names(names: &[&str]) -> Box<[Box<str>]> {
    names.iter().map(|&name| name.into()).collect()
}

fn list(shape: Shape) -> Shape {
    Shape::List(Box::new(shape))
}

fn option(shape: Shape) -> Shape {
    Shape::Option(Box::new(shape))
}

fn result(ok: Option<Shape>, err: Option<Shape>) -> Shape {
    Shape::Result { ok: ok.map(Box::new), err: err.map(Box::new) }
}

fn point() -> Shape {
    record([("x", Shape::F64), ("y-pos", Shape::F64), ("label", option(Shape::String))])
}

fn parameters<'a>(fields: impl IntoIterator<Item = (&'a str, Shape)>) -> Vec<Field> {
    fields.into_iter().map(|(name, shape)| Field { name: name.into(), shape }).collect()
}

pub(super) fn read(text: &str, shape: &Shape) -> Result<Val, String> {
    value_from_json(text, shape, "v").map_err(|error| error.to_string())
}

/// Reads arguments that an account without an end bears, and checks that it bears all of their bytes.
fn arguments(text: &str, parameters: &[Field]) -> Result<Vec<Val>, ValueError> {
    let account = HostMemory::new(u64::MAX, Arc::new(GuestControl::new(Duration::from_secs(1))));
    let (values, held) = charged_arguments(text, parameters, &account)?;
    assert!(held.bytes() >= bytes_of(&values), "{} for {values:?}", held.bytes());
    Ok(values)
}

pub(super) fn write(val: &Val) -> String {
    let mut out = String::new();
    to_json(val, &mut out, usize::MAX).unwrap();
    out
}

/// Reads and writes again.
#[track_caller]
fn echo(text: &str, shape: &Shape) -> String {
    write(&read(text, shape).unwrap())
}

#[track_caller]
fn refused(text: &str, shape: &Shape, expected: &str) {
    assert_eq!(read(text, shape), Err(expected.to_owned()), "{text}");
}

#[test]
fn integers_keep_all_their_digits_and_their_bounds() {
    assert_eq!(echo("18446744073709551615", &Shape::U64), "18446744073709551615");
    assert_eq!(echo("-9223372036854775808", &Shape::S64), "-9223372036854775808");
    assert_eq!(echo("9007199254740993", &Shape::S64), "9007199254740993");
    assert_eq!(echo("-0", &Shape::U8), "0");
    refused("300", &Shape::U8, "v: expected u8, found 300");
    refused("-1", &Shape::U64, "v: expected u64, found -1");
    refused("-129", &Shape::S8, "v: expected s8, found -129");
    refused("9223372036854775808", &Shape::S64, "v: expected s64, found 9223372036854775808");
    refused("18446744073709551616", &Shape::U64, "v: expected u64, found 1.8446744073709552e19");
    // As in JSON Schema, a number without a fraction is an integer.
    assert_eq!(echo("1.0", &Shape::U8), "1");
    assert_eq!(echo("-0.0", &Shape::U8), "0");
    assert_eq!(echo("1e2", &Shape::S32), "100");
    refused("256.0", &Shape::U8, "v: expected u8, found 256");
    refused("1.5", &Shape::U8, "v: expected u8, found 1.5");
    // This one is 9007199254740993 when it is written exactly.
    refused("9007199254740993.0", &Shape::S64, "v: expected s64, found 9007199254740992.0");
    refused("\"1\"", &Shape::S32, "v: expected s32, found string");
    refused("null", &Shape::S32, "v: expected s32, found null");
    refused("[]", &Shape::S32, "v: expected s32, found array");
    refused("{}", &Shape::S32, "v: expected s32, found object");
    refused("true", &Shape::S32, "v: expected s32, found boolean");
    for byte in 0..=u8::MAX {
        assert_eq!(write(&Val::U8(byte)), byte.to_string());
    }
}

#[test]
fn floats_keep_their_width_their_sign_and_what_is_not_a_number() {
    assert_eq!(echo("0.1", &Shape::F32), "0.1");
    assert_eq!(echo("16777217", &Shape::F32), "16777216.0");
    assert_eq!(echo("7", &Shape::F64), "7.0");
    assert_eq!(echo("-0.0", &Shape::F64), "-0.0");
    assert_eq!(echo("-0", &Shape::F32), "-0.0");
    assert_eq!(echo("1e300", &Shape::F64), "1e300");
    assert_eq!(echo("100000000000000000000000000000", &Shape::F64), "1e29");
    // What serde_json itself reads is off by one in the last place.
    assert_eq!(echo("1.947700395895162e-169", &Shape::F64), "1.947700395895162e-169");
    for text in ["\"NaN\"", "\"Infinity\"", "\"-Infinity\""] {
        assert_eq!(echo(text, &Shape::F32), text);
        assert_eq!(echo(text, &Shape::F64), text);
    }
    refused("1e400", &Shape::F64, "v: expected f64, found 1e400");
    refused("1e39", &Shape::F32, "v: expected f32, found 1e39");
    refused("\"nan\"", &Shape::F64, "v: expected f64, found string");
    refused("[1]", &Shape::F64, "v: expected f64, found array");
    refused("null", &Shape::F64, "v: expected f64, found null");
    assert_eq!(
        echo("[1.5, null]", &Shape::Tuple([option(Shape::F32), option(Shape::F32)].into())),
        "[1.5,null]"
    );
}

#[test]
fn text_is_escaped_and_read_back() {
    let text = "\"\\\"\\\\\\n\\r\\t\\u0000\\u001f é 😀\"";
    assert_eq!(echo(text, &Shape::String), text);
    assert_eq!(echo("\"\\ud83d\\ude00\"", &Shape::Char), "\"😀\"");
    refused("\"ab\"", &Shape::Char, "v: expected char, found a string of 2 characters");
    refused("\"\"", &Shape::Char, "v: expected char, found an empty string");
    refused("7", &Shape::String, "v: expected string, found number");
    refused("7.5", &Shape::String, "v: expected string, found number");
}

#[test]
fn records_take_both_cases_of_names_and_refuse_what_they_do_not_know() {
    let expected = r#"{"x":1.0,"y-pos":2.0,"label":null}"#;
    assert_eq!(echo(r#"{"x":1,"y-pos":2}"#, &point()), expected);
    assert_eq!(echo(r#"{"y_pos":2,"label":null,"x":1}"#, &point()), expected);
    refused(
        r#"{"x":1,"y-poz":2}"#,
        &point(),
        "v: unknown field `y-poz` (did you mean `y-pos`? known fields: `x`, `y-pos`, `label`)",
    );
    refused(r#"{"x":1,"y-pos":2,"y_pos":3}"#, &point(), "v: field `y-pos` is given twice");
    refused(r#"{"x":1,"x":1,"y-pos":3}"#, &point(), "v: field `x` is given twice");
    refused(r#"{"x":1}"#, &point(), "v: missing field `y-pos` (f64); the fields are `x`, `y-pos`, `label`");
    refused(
        r#"[1]"#,
        &point(),
        "v: expected record {x: f64, y-pos: f64, label: option<string>}, found array",
    );
}

#[test]
fn an_error_says_where_it_is() {
    let points = parameters([("points", list(point())), ("scale", Shape::F64)]);
    let error = |text: &str| arguments(text, &points).unwrap_err().to_string();
    let good = r#"{"x":1,"y-pos":2}"#;
    assert_eq!(
        error(&format!(r#"[[{good},{good},{good},{{"x":"no"}}],1]"#)),
        "points[3].x: expected f64, found string"
    );
    assert_eq!(error(r#"{"scale":true,"points":[]}"#), "scale: expected f64, found boolean");
    let deep = result(Some(variant([("circle", Some(Shape::Tuple([Shape::U8, Shape::Bool].into())))])), None);
    refused(r#"{"ok":{"circle":[1,2]}}"#, &deep, "v.ok.circle[1]: expected bool, found number");
}

#[test]
fn options_and_options_in_options() {
    let once = option(Shape::U8);
    let twice = option(once.clone());
    let thrice = option(twice.clone());
    let some = |val| Val::Option(Some(Box::new(val)));
    let none = Val::Option(None);
    for (shape, text, val) in [
        (&once, "null", none.clone()),
        (&once, "7", some(Val::U8(7))),
        (&twice, "null", none.clone()),
        (&twice, r#"{"some":null}"#, some(none.clone())),
        (&twice, r#"{"some":7}"#, some(some(Val::U8(7)))),
        (&thrice, r#"{"some":{"some":null}}"#, some(some(none.clone()))),
        (&thrice, r#"{"some":{"some":7}}"#, some(some(some(Val::U8(7))))),
    ] {
        assert_eq!(read(text, shape), Ok(val.clone()), "{text}");
        assert_eq!(write(&val), text);
    }
    refused("7", &twice, r#"v: expected option<option<u8>> (null or `{"some": …}`), found number"#);
    refused("{}", &twice, r#"v: expected option<option<u8>> (null or `{"some": …}`), found an empty object"#);
    refused(r#"{"some":"x"}"#, &twice, "v.some: expected u8, found string");
    refused(r#"{"none":1}"#, &twice, "v: unknown case `none` (known cases: `some`)");
    refused("\"x\"", &once, "v: expected u8, found string");
    // A null inside an object of its own is not ambiguous.
    assert_eq!(echo(r#"{"ok":null}"#, &option(result(None, None))), r#"{"ok":null}"#);
    assert_eq!(echo(r#"{"ok":null}"#, &option(result(Some(once), None))), r#"{"ok":null}"#);
}

#[test]
fn enums_variants_flags_and_results() {
    let colour = Shape::Enum(names(&["red", "dark-green"]));
    assert_eq!(echo("\"dark_green\"", &colour), "\"dark-green\"");
    refused(
        "\"reed\"",
        &colour,
        "v: unknown case `reed` (did you mean `red`? known cases: `red`, `dark-green`)",
    );
    refused("1", &colour, "v: expected enum {red, dark-green}, found number");

    let shape = variant([("circle", Some(Shape::F64)), ("nothing", None)]);
    assert_eq!(echo(r#"{"circle":1}"#, &shape), r#"{"circle":1.0}"#);
    assert_eq!(echo(r#"{"nothing":null}"#, &shape), r#""nothing""#);
    refused("\"circle\"", &shape, "v: case `circle` carries f64: write `{\"circle\": …}`");
    refused(r#"{"nothing":1}"#, &shape, "v: case `nothing` carries nothing: expected null");
    refused(
        r#"{"circle":1,"nothing":null}"#,
        &shape,
        "v: expected variant {circle(f64), nothing}, found an object with several keys",
    );
    refused("{}", &shape, "v: expected variant {circle(f64), nothing}, found an empty object");

    let access = Shape::Flags(names(&["read", "write"]));
    assert_eq!(echo(r#"["write","read"]"#, &access), r#"["read","write"]"#);
    assert_eq!(echo("[]", &access), "[]");
    refused(r#"["read","read"]"#, &access, "v[1]: flag `read` is given twice");
    refused(
        r#"["wrote"]"#,
        &access,
        "v[0]: unknown flag `wrote` (did you mean `write`? known flags: `read`, `write`)",
    );
    refused("[1]", &access, "v[0]: expected string, found number");

    let outcome = result(Some(Shape::U8), None);
    assert_eq!(echo(r#"{"ok":1}"#, &outcome), r#"{"ok":1}"#);
    assert_eq!(echo(r#"{"err":null}"#, &outcome), r#"{"err":null}"#);
    refused(r#"{"err":1}"#, &outcome, "v: case `err` carries nothing: expected null");
    refused("1", &outcome, r#"v: expected result<u8> (`{"ok": …}` or `{"err": …}`), found number"#);
}

#[test]
fn tuples_have_their_length() {
    let pair = Shape::Tuple([Shape::U8, Shape::String].into());
    assert_eq!(echo(r#"[1,"a"]"#, &pair), r#"[1,"a"]"#);
    refused("[1]", &pair, "v: expected tuple<u8, string>, found an array of 1");
    refused(r#"[1,"a",2,3]"#, &pair, "v: expected tuple<u8, string>, found an array of 4");
}

#[test]
fn bytes_come_as_numbers_or_base64() {
    let bytes = list(Shape::U8);
    assert_eq!(echo("[0,255]", &bytes), "[0,255]");
    assert_eq!(echo(r#"{"$base64":"AP8="}"#, &bytes), "[0,255]");
    assert_eq!(echo(r#"{"$base64":"AP8"}"#, &bytes), "[0,255]");
    refused("[1,256]", &bytes, "v[1]: expected u8, found 256");
    refused(r#"{"$base64":5}"#, &bytes, "v.$base64: expected string, found number");
    assert!(read(r#"{"$base64":"?"}"#, &bytes).unwrap_err().starts_with("v.$base64: expected base64: "));
    refused(
        r#"{"base64":""}"#,
        &bytes,
        "v: unknown key `base64` (did you mean `$base64`? known keys: `$base64`)",
    );
    refused(r#"{"$base64":""}"#, &list(Shape::U16), "v: expected list<u16>, found object");
}

#[test]
fn arguments_come_by_position_or_by_name() {
    let known = parameters([("left", Shape::U8), ("right-side", Shape::U8), ("note", option(Shape::String))]);
    let values = Ok(vec![Val::U8(1), Val::U8(2), Val::Option(None)]);
    for text in [
        "[1,2]",
        "[1,2,null]",
        r#"{"left":1,"right-side":2}"#,
        r#" {"note":null,"right_side": 2 ,"left":1} "#,
    ] {
        assert_eq!(arguments(text, &known), values, "{text}");
        let normal = canonical_arguments(text, &known).unwrap();
        assert_eq!(arguments(&normal, &known), values, "{normal}");
        assert_eq!(serde_json::from_str::<Vec<serde_json::Value>>(&normal).unwrap().len(), 3);
    }
    assert_eq!(&*canonical_arguments(" [ 1, 2 ] ", &known).unwrap(), "[1,2,null]");
    assert_eq!(&*canonical_arguments(r#"{"right_side":2,"left":1}"#, &known).unwrap(), "[1,2,null]");

    let error = |text| {
        let error = arguments(text, &known).unwrap_err();
        assert_eq!(canonical_arguments(text, &known).unwrap_err(), error);
        error.to_string()
    };
    let the_parameters = "the parameters are (left: u8, right-side: u8, note: option<string>)";
    assert_eq!(error("[1]"), format!("expected 3 arguments, found 1; {the_parameters}"));
    assert_eq!(error("[1,2,null,4,5]"), format!("expected 3 arguments, found 5; {the_parameters}"));
    assert_eq!(
        error("5"),
        format!("expected the arguments as an array or an object, found number; {the_parameters}")
    );
    assert_eq!(
        error(r#"{"left":1,"rihgt-side":2}"#),
        "unknown parameter `rihgt-side` (did you mean `right-side`? known parameters: `left`, `right-side`, `note`)"
    );
    assert_eq!(error(r#"{"left":1,"left":1}"#), "parameter `left` is given twice");
    assert_eq!(
        error(r#"{"left":1}"#),
        "missing parameter `right-side` (u8); the parameters are `left`, `right-side`, `note`"
    );
    assert!(error("[1,2").starts_with("the arguments: not valid JSON: EOF"));
    assert!(error("[1,2] 3").starts_with("the arguments: not valid JSON: trailing characters"));
    assert!(error("").starts_with("the arguments: not valid JSON: EOF"));
}

#[test]
fn equal_arguments_have_one_canonical_text() {
    let same = |shape: Shape, texts: &[&str], canonical: &str| {
        let known = parameters([("a", shape)]);
        for text in texts.iter().chain([&canonical]) {
            let written = canonical_arguments(&format!("[{text}]"), &known).unwrap();
            assert_eq!(*written, format!("[{canonical}]"), "{text}");
            let by_name = canonical_arguments(&format!("{{ \"a\" :{text}}}"), &known).unwrap();
            assert_eq!(by_name, written, "{text}");
        }
    };
    let point = record([("x-y", Shape::S32), ("z", option(Shape::S32))]);
    same(point, &[r#"{"z":null,"x_y":2}"#, r#"{ "x-y" : 2.0 }"#], r#"{"x-y":2,"z":null}"#);
    same(Shape::String, &[r#""\u00e9\/\u000a""#], r#""é/\n""#);
    same(Shape::F64, &["2", "2.00", "0.2e1"], "2.0");
    same(Shape::F32, &["0.1", "0.10000000149011612"], "0.1");
    same(Shape::S32, &["-0", "0.0", "-0.0"], "0");
    same(Shape::Flags(names(&["a", "b", "c"])), &[r#"["c","a"]"#], r#"["a","c"]"#);
    let cases = || variant([("plain", None), ("with", Some(Shape::U8))]);
    same(cases(), &[r#"{"plain":null}"#], r#""plain""#);
    same(option(option(Shape::U8)), &[r#"{"some" : 1}"#], r#"{"some":1}"#);
    same(result(None, Some(Shape::U8)), &[r#"{ "ok": null }"#], r#"{"ok":null}"#);
    let bytes = || list(Shape::U8);
    same(bytes(), &[r#"{"$base64":"AQL/"}"#, "[ 1,2 , 255]"], "[1,2,255]");
    let (array, base64) =
        (format!("[{}0]", "0,".repeat(64)), format!("{{\"$base64\":\"{}AA=\"}}", "A".repeat(85)));
    same(bytes(), &[&array, &base64.replace('=', "")], &base64);
    // The signs of zeros differ, as floats.
    same(Shape::F64, &["-0"], "-0.0");
}

#[test]
fn a_task_without_parameters_takes_an_empty_array_or_object() {
    assert_eq!(&*canonical_arguments("[]", &[]).unwrap(), "[]");
    assert_eq!(&*canonical_arguments("{}", &[]).unwrap(), "[]");
    let error = canonical_arguments("[1]", &[]).unwrap_err().to_string();
    assert_eq!(error, "expected 0 arguments, found 1; the task has no parameters");
    let error = canonical_arguments(r#"{"a":1}"#, &[]).unwrap_err().to_string();
    assert_eq!(error, "unknown parameter `a` (there are no parameters)");
    let options = parameters([("a", option(Shape::U8)), ("b", option(Shape::U8))]);
    assert_eq!(&*canonical_arguments("[ ]", &options).unwrap(), "[null,null]");
    assert_eq!(&*canonical_arguments("{}", &options).unwrap(), "[null,null]");
}

#[test]
fn a_document_that_is_nested_a_thousand_deep_is_an_error() {
    let nested = format!("{}{}", "[".repeat(1000), "]".repeat(1000));
    for shape in [Shape::U8, list(list(Shape::U8)), Shape::F64, record([("a", Shape::U8)])] {
        assert!(read(&nested, &shape).is_err());
        assert!(canonical_arguments(&nested, &parameters([("a", shape)])).is_err());
    }
    let nested = format!("{}1{}", r#"{"some":"#.repeat(100_000), "}".repeat(100_000));
    let mut shape = Shape::U8;
    for _ in 0..200 {
        shape = option(shape);
    }
    let error = read(&nested, &shape).unwrap_err();
    assert!(error.contains("recursion limit exceeded"), "{error}");
}

#[test]
fn writing_stops_at_its_bound() {
    let mut out = String::from("before");
    let bytes = Val::List(vec![Val::U8(200); 1000]);
    assert_eq!(to_json(&bytes, &mut out, 100), Err(WriteError::TooLarge { max_bytes: 100 }));
    assert!(out.len() < 200);
    for val in [bytes, Val::String("x\n".repeat(500)), Val::List(vec![Val::String("abc".into()); 100])] {
        let size = write(&val).len();
        assert_eq!(to_json(&val, &mut String::new(), size), Ok(()));
        assert_eq!(
            to_json(&val, &mut String::new(), size - 1),
            Err(WriteError::TooLarge { max_bytes: size - 1 })
        );
    }
}

#[test]
fn type_names_are_those_of_wit() {
    for (shape, name) in [
        (list(Shape::U8), "list<u8>"),
        (option(Shape::String), "option<string>"),
        (Shape::Tuple([Shape::U8, Shape::F32].into()), "tuple<u8, f32>"),
        (result(None, None), "result"),
        (result(Some(Shape::S64), None), "result<s64>"),
        (result(None, Some(Shape::Char)), "result<_, char>"),
        (result(Some(Shape::U8), Some(Shape::String)), "result<u8, string>"),
        (list(record([("a", record([("b", Shape::Bool)]))])), "list<record {a: record {…}}>"),
        (Shape::Flags(names(&["a", "b", "c", "d", "e", "f", "g"])), "flags {a, b, c, d, e, f, …}"),
    ] {
        assert_eq!(shape.name(), name);
    }
    assert_eq!(record([("a", record([("b", Shape::Bool)]))]).to_string(), "record {a: record {b: bool}}");
}

#[test]
fn shapes_are_compared_with_the_place_of_the_difference() {
    let wanted = list(record([("x", Shape::F64), ("c", variant([("a", Some(Shape::U8)), ("b", None)]))]));
    let same = |other: &Shape| same_shape(&wanted, other);
    assert_eq!(same(&wanted), Ok(()));
    let other = list(record([("x", Shape::F32), ("c", variant([("a", Some(Shape::U8)), ("b", None)]))]));
    assert_eq!(same(&other), Err("[].x: imported as f64, exported as f32".into()));
    let other = list(record([("x", Shape::F64), ("c", variant([("a", Some(Shape::S8)), ("b", None)]))]));
    assert_eq!(same(&other), Err("[].c.a: imported as u8, exported as s8".into()));
    let other = list(record([("x", Shape::F64), ("c", variant([("a", Some(Shape::U8)), ("bb", None)]))]));
    assert_eq!(
        same(&other),
        Err("[].c: imported as variant {a(u8), b}, exported as variant {a(u8), bb}".into())
    );
    assert!(same_shape(&result(Some(Shape::U8), None), &result(None, None)).is_err());
    assert!(same_shape(&option(Shape::U8), &Shape::U8).is_err());
}

/// The types of a component that imports a function with these parameters.
fn types(engine: &Engine, shapes: &[Shape]) -> Vec<Type> {
    let labels: Vec<String> = (0..shapes.len()).map(|index| format!("p{index}")).collect();
    let parameters = labels.iter().map(String::as_str).zip(shapes.iter().cloned());
    let bytes = component(&[TestImport::Function(function("f", parameters, None))], &[], &[]);
    let component = Component::new(engine, bytes).unwrap();
    match component.component_type().get_import(engine, "f").unwrap().ty {
        ComponentItem::ComponentFunc(function) => function.params().map(|(_, ty)| ty).collect(),
        _ => unreachable!(),
    }
}

#[test]
fn a_type_that_explodes_is_refused() {
    let mut shape = Shape::U8;
    for _ in 0..16 {
        shape = Shape::Tuple([shape.clone(), shape].into());
    }
    let types = types(&Engine::default(), &[shape, Shape::U8]);
    assert_eq!(
        Shape::within(&types[0], &mut { usize::MAX }),
        Err("its type has more than 10000 parts".to_owned())
    );
    assert_eq!(Shape::within(&types[1], &mut { usize::MAX }), Ok(Shape::U8));
    let mut left = 3;
    assert_eq!(Shape::within(&types[1], &mut left), Ok(Shape::U8));
    let together = "the types of its component have too many parts together";
    assert_eq!(Shape::within(&types[0], &mut left), Err(together.to_owned()));
    assert_eq!((Shape::within(&types[1], &mut left), left), (Err(together.to_owned()), 0));
}

/// In a small file ten thousand functions can take one type.
#[test]
fn names_count_wherever_their_type_is_used() {
    let long = "n".repeat(100 * 64);
    let takes = |shape: Shape, nodes: usize| {
        let taken = types(&Engine::default(), &[shape]);
        let mut left = 2 * nodes;
        assert!(Shape::within(&taken[0], &mut left).is_ok() && left == nodes, "{left} are left of {nodes}");
        assert!(Shape::within(&taken[0], &mut left).is_ok());
        assert!(Shape::within(&taken[0], &mut left).is_err());
    };
    takes(record([(&*long, Shape::U8)]), 103);
    takes(variant([(&*long, None), ("b", None)]), 103);
    takes(Shape::Enum(names(&["a", &long])), 103);
    takes(Shape::Flags(names(&["a", &long, "b"])), 104);
}

/// `Shape`, and all that walks it, recurse: wasmtime must keep types shallow.
#[test]
fn wasmtime_refuses_types_that_are_too_deep() {
    let engine = Engine::default();
    for (depth, is_fine) in [(90, true), (5000, false)] {
        let mut shape = Shape::U8;
        for _ in 0..depth {
            shape = list(shape);
        }
        let parameters = [("p", shape)];
        let bytes = component(&[TestImport::Function(function("f", parameters, None))], &[], &[]);
        let component = Component::new(&engine, bytes);
        assert_eq!(component.is_ok(), is_fine);
    }
}

/// Every type, a few levels deep.
pub(super) fn any_shape() -> impl Strategy<Value = Shape> {
    use Shape::*;
    let labels = |range| proptest::collection::btree_set("[a-z]{1,4}(-[a-z][a-z0-9]{0,3}){0,2}", range);
    let leaf = prop_oneof![
        4 => proptest::sample::select(vec![
            Bool, S8, U8, S16, U16, S32, U32, S64, U64, F32, F64, Char, String,
        ]),
        1 => labels(1..5).prop_map(|names| Enum(names.iter().map(|name| name.as_str().into()).collect())),
        1 => labels(1..32).prop_map(|names| Flags(names.iter().map(|name| name.as_str().into()).collect())),
    ];
    leaf.prop_recursive(4, 24, 4, move |inner| {
        let maybe = proptest::option::of(inner.clone());
        prop_oneof![
            inner.clone().prop_map(list),
            inner.clone().prop_map(option),
            proptest::collection::vec(inner.clone(), 1..4).prop_map(|shapes| Tuple(shapes.into())),
            (maybe.clone(), maybe.clone()).prop_map(|(ok, err)| result(ok, err)),
            (labels(1..4), proptest::collection::vec(inner, 4))
                .prop_map(|(names, shapes)| record(names.iter().map(|name| name.as_str()).zip(shapes))),
            (labels(1..4), proptest::collection::vec(maybe, 4))
                .prop_map(|(names, shapes)| variant(names.iter().map(|name| name.as_str()).zip(shapes))),
        ]
    })
}

/// Every value of a type.
fn any_val(shape: &Shape) -> BoxedStrategy<Val> {
    let boxed = |shape: &Option<Box<Shape>>| match shape {
        Some(shape) => any_val(shape).prop_map(|val| Some(Box::new(val))).boxed(),
        None => Just(None).boxed(),
    };
    match shape {
        Shape::Bool => any::<bool>().prop_map(Val::Bool).boxed(),
        Shape::S8 => any::<i8>().prop_map(Val::S8).boxed(),
        Shape::U8 => any::<u8>().prop_map(Val::U8).boxed(),
        Shape::S16 => any::<i16>().prop_map(Val::S16).boxed(),
        Shape::U16 => any::<u16>().prop_map(Val::U16).boxed(),
        Shape::S32 => any::<i32>().prop_map(Val::S32).boxed(),
        Shape::U32 => any::<u32>().prop_map(Val::U32).boxed(),
        Shape::S64 => any::<i64>().prop_map(Val::S64).boxed(),
        Shape::U64 => any::<u64>().prop_map(Val::U64).boxed(),
        // Every bit pattern: NaNs, infinities, zeros of both signs, subnormals.
        Shape::F32 => any::<u32>().prop_map(|bits| Val::Float32(f32::from_bits(bits))).boxed(),
        Shape::F64 => any::<u64>().prop_map(|bits| Val::Float64(f64::from_bits(bits))).boxed(),
        Shape::Char => any::<char>().prop_map(Val::Char).boxed(),
        Shape::String => any::<String>().prop_map(Val::String).boxed(),
        Shape::List(element) => proptest::collection::vec(any_val(element), 0..4).prop_map(Val::List).boxed(),
        Shape::Tuple(shapes) => shapes.iter().map(any_val).collect::<Vec<_>>().prop_map(Val::Tuple).boxed(),
        Shape::Record(fields) => {
            let names: Vec<_> = fields.iter().map(|field| field.name.to_string()).collect();
            let vals: Vec<_> = fields.iter().map(|field| any_val(&field.shape)).collect();
            vals.prop_map(move |vals| Val::Record(names.iter().cloned().zip(vals).collect())).boxed()
        }
        Shape::Variant(cases) => {
            let cases = cases.iter().map(|case| {
                let name = case.name.to_string();
                let payload = boxed(&case.payload.clone().map(Box::new));
                payload.prop_map(move |payload| Val::Variant(name.clone(), payload)).boxed()
            });
            proptest::strategy::Union::new(cases).boxed()
        }
        Shape::Enum(names) => {
            proptest::sample::select(names.to_vec()).prop_map(|n| Val::Enum(n.into())).boxed()
        }
        Shape::Flags(names) => proptest::sample::subsequence(names.to_vec(), 0..=names.len())
            .prop_map(|set| Val::Flags(set.into_iter().map(Into::into).collect()))
            .boxed(),
        Shape::Option(value) => {
            proptest::option::of(any_val(value)).prop_map(|val| Val::Option(val.map(Box::new))).boxed()
        }
        Shape::Result { ok, err } => prop_oneof![
            boxed(ok).prop_map(|val| Val::Result(Ok(val))),
            boxed(err).prop_map(|val| Val::Result(Err(val)))
        ]
        .boxed(),
    }
}

pub(super) fn any_shape_and_val() -> impl Strategy<Value = (Shape, Val)> {
    any_shape().prop_flat_map(|shape| {
        let val = any_val(&shape);
        (Just(shape), val)
    })
}

/// The text of a value, written as differently as it can be.
fn respell(val: &Val) -> String {
    let text = |text: &str| {
        let units: String = text.encode_utf16().map(|unit| format!("\\u{unit:04X}")).collect();
        format!("\"{units}\"")
    };
    let array = |texts: Vec<String>| format!("[ {} ]", texts.join(" ,\n"));
    let integer = |value: i128| match value.abs() < 1 << 53 {
        true => format!("{value}.0"),
        false => value.to_string(),
    };
    let member = |name: &str, val: Option<&Val>| {
        format!("{{ {}: {} }}", text(&name.replace('-', "_")), val.map_or("null".to_owned(), respell))
    };
    match val {
        Val::S8(value) => integer((*value).into()),
        Val::U16(value) => integer((*value).into()),
        Val::S16(value) => integer((*value).into()),
        Val::U32(value) => integer((*value).into()),
        Val::S32(value) => integer((*value).into()),
        Val::U64(value) => integer((*value).into()),
        Val::S64(value) => integer((*value).into()),
        Val::Float64(value) if value.is_finite() => format!("{value:e}"),
        Val::Float32(value) if value.is_finite() => format!("{:e}", f64::from(*value)),
        Val::String(value) | Val::Enum(value) => text(value),
        Val::Char(value) => text(&value.to_string()),
        Val::List(values) if values.iter().all(|value| matches!(value, Val::U8(_))) && !values.is_empty() => {
            let bytes = values.iter().map(|value| if let Val::U8(byte) = value { *byte } else { 0 });
            let encoded =
                base64::Engine::encode(&base64::prelude::BASE64_STANDARD_NO_PAD, bytes.collect::<Vec<_>>());
            format!("{{\"$base64\" : \"{encoded}\"}}")
        }
        Val::List(values) | Val::Tuple(values) => array(values.iter().map(respell).collect()),
        Val::Record(fields) => {
            let members = fields.iter().rev().filter(|(_, val)| *val != Val::Option(None));
            let members =
                members.map(|(name, val)| format!("{} :{}", text(&name.replace('-', "_")), respell(val)));
            format!("{{{}}}", members.collect::<Vec<_>>().join(" , "))
        }
        Val::Flags(names) => array(names.iter().rev().map(|name| text(name)).collect()),
        Val::Variant(name, payload) => member(name, payload.as_deref()),
        Val::Result(Ok(payload)) => member("ok", payload.as_deref()),
        Val::Result(Err(payload)) => member("err", payload.as_deref()),
        Val::Option(Some(inner)) if matches!(**inner, Val::Option(_)) => member("some", Some(inner)),
        Val::Option(Some(inner)) => respell(inner),
        other => write(other),
    }
}

proptest! {
    #[test]
    fn however_a_value_is_spelled_its_canonical_text_is_one((shape, val) in any_shape_and_val()) {
        let known = parameters([("a-b", shape)]);
        let plain = canonical_arguments(&format!("[{}]", write(&val)), &known).unwrap();
        let other = canonical_arguments(&format!(" {{\"a_b\":{} }}", respell(&val)), &known).unwrap();
        prop_assert_eq!(&plain, &other, "{}", respell(&val));
        prop_assert_eq!(&canonical_arguments(&plain, &known).unwrap(), &plain);
        prop_assert_eq!(arguments(&plain, &known), Ok(vec![val]));
    }

    #[test]
    fn any_value_survives_json((shape, val) in any_shape_and_val()) {
        let text = write(&val);
        prop_assert_eq!(read(&text, &shape), Ok(val.clone()), "{}", text);
        // The text is JSON to others too, and as an argument by name and position.
        let tree: serde_json::Value = serde_json::from_str(&text).unwrap();
        let parameters = parameters([("a-b", shape)]);
        let by_name = format!("{{\"a_b\":{text}}}");
        prop_assert_eq!(arguments(&by_name, &parameters), Ok(vec![val]));
        let normal = canonical_arguments(&by_name, &parameters).unwrap();
        prop_assert_eq!(serde_json::from_str::<Vec<serde_json::Value>>(&normal).unwrap(), vec![tree]);
    }

    #[test]
    fn no_text_is_too_strange((shape, val) in any_shape_and_val(), other in any_shape(), cut in 0.0..1.0, junk in ".{0,40}") {
        let text = write(&val);
        let _ = read(&text, &other);
        let end = text.floor_char_boundary((text.len() as f64 * cut) as usize);
        let _ = read(&text[..end], &shape);
        let _ = canonical_arguments(&junk, &parameters([("a", shape)]));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Types come out of wasmtime as they went in, and wasmtime takes the
    /// values that are read for them.
    #[test]
    fn wasmtime_agrees_about_types_and_values((shape, val) in any_shape_and_val()) {
        let engine = Engine::default();
        let taken = types(&engine, std::slice::from_ref(&shape));
        prop_assert_eq!(Shape::within(&taken[0], &mut { usize::MAX }), Ok(shape.clone()));
        prop_assert_eq!(same_shape(&shape, &Shape::within(&taken[0], &mut { usize::MAX }).unwrap()), Ok(()));

        let bytes = component(&[], &[function("f", [("p", shape.clone())], None)], &[]);
        let component = Component::new(&engine, bytes).unwrap();
        let mut store = Store::new(&engine, ());
        let instance = Linker::new(&engine).instantiate(&mut store, &component).unwrap();
        let function = instance.get_func(&mut store, "f").unwrap();
        let val = read(&write(&val), &shape).unwrap();
        function.call(&mut store, &[val], &mut []).unwrap();
    }
}
