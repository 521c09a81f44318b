//! Returns what it was given, for every WIT type: shows how WIT values look in
//! Rust and in JSON.
//!
//! ```text
//! run-wasm-runner call echo-shape '[{"circle": 2.5}]'
//! ```

use exports::demo::types::echo::{
    ErrorRecord, Everything, Guest as EchoGuest, LineSegment, Permissions, Point, Shape, Suit,
};

wit_bindgen::generate!({ path: "wit", world: "demo:types/guest" });

struct Echo;
export!(Echo);

impl Guest for Echo {
    fn hello(name: String) -> String {
        format!("Hello, {name}!")
    }
}

impl EchoGuest for Echo {
    fn echo_bool(value: bool) -> bool {
        value
    }

    fn echo_u8(value: u8) -> u8 {
        value
    }

    fn echo_u16(value: u16) -> u16 {
        value
    }

    fn echo_u32(value: u32) -> u32 {
        value
    }

    fn echo_u64(value: u64) -> u64 {
        value
    }

    fn echo_s8(value: i8) -> i8 {
        value
    }

    fn echo_s16(value: i16) -> i16 {
        value
    }

    fn echo_s32(value: i32) -> i32 {
        value
    }

    fn echo_s64(value: i64) -> i64 {
        value
    }

    fn echo_f32(value: f32) -> f32 {
        value
    }

    fn echo_f64(value: f64) -> f64 {
        value
    }

    fn echo_char(value: char) -> char {
        value
    }

    fn echo_string(value: String) -> String {
        value
    }

    fn echo_bytes(value: Vec<u8>) -> Vec<u8> {
        value
    }

    fn echo_strings(value: Vec<String>) -> Vec<String> {
        value
    }

    fn echo_point(value: Point) -> Point {
        value
    }

    fn echo_line_segment(value: LineSegment) -> LineSegment {
        value
    }

    fn echo_points(value: Vec<Point>) -> Vec<Point> {
        value
    }

    fn echo_tuple(value: (u8, String, bool)) -> (u8, String, bool) {
        value
    }

    fn echo_shape(value: Shape) -> Shape {
        value
    }

    fn echo_suit(value: Suit) -> Suit {
        value
    }

    fn echo_permissions(value: Permissions) -> Permissions {
        value
    }

    fn echo_option(value: Option<u32>) -> Option<u32> {
        value
    }

    fn echo_nested_option(value: Option<Option<u32>>) -> Option<Option<u32>> {
        value
    }

    fn echo_result(value: Result<u32, String>) -> (Result<u32, String>,) {
        (value,)
    }

    fn echo_empty_result(value: Result<(), ()>) -> (Result<(), ()>,) {
        (value,)
    }

    fn all(everything: Everything) -> Everything {
        everything
    }

    fn nothing() {}

    fn join_words(first_word: String, second_word: String, separator: Option<String>) -> String {
        let separator = separator.as_deref().unwrap_or(" ");
        format!("{first_word}{separator}{second_word}")
    }

    fn fail(code: u32, message: String) -> Result<String, ErrorRecord> {
        match code {
            0 => Ok(message),
            _ => Err(ErrorRecord { code, message }),
        }
    }

    fn check(succeed: bool) -> Result<(), ()> {
        succeed.then_some(()).ok_or(())
    }

    fn only_ok(succeed: bool) -> Result<u32, ()> {
        succeed.then_some(1).ok_or(())
    }

    fn only_err(succeed: bool) -> Result<(), String> {
        succeed.then_some(()).ok_or_else(|| "asked to fail".to_owned())
    }
}
