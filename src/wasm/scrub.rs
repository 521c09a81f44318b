//! The search for secrets in the output of guests: as they are, escaped, or in common encodings. They are
//! replaced by their names.

use std::borrow::Cow;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::{GeneralPurpose, STANDARD_NO_PAD, URL_SAFE_NO_PAD};

use super::grants::SecretGrant;

/// The shortest beginnings of a secret that are no longer any text: plain, in base64 and in hexadecimal
/// digits.
const TELLING: usize = 4;
const TELLING_BASE64: usize = 6;
const TELLING_HEX: usize = 8;

/// A form in which a secret may appear.
enum Form {
    /// These bytes.
    Exact(Box<[u8]>),
    /// These digits within base64. With `has_tail` the end of the secret is also in the next digit, together
    /// with the text behind it.
    Base64 { digits: Box<[u8]>, has_tail: bool },
    /// Each byte as it is, or as `%` and two hexadecimal digits: libraries differ in which bytes they encode.
    /// A space may be `+`.
    Percent(Box<[u8]>),
    /// Each character as it is, or escaped as in a string of JSON or of a programming language, so many times
    /// over: libraries differ in which characters they escape, and how.
    Escaped { secret: Box<str>, times: u8 },
}

/// The result of comparing the beginning of a text with a form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Match {
    /// So many bytes are the form.
    Whole(usize),
    /// So many bytes are the form, and the next one would belong to it, too, but is not there yet.
    Open(usize),
    /// The text ends before the form does.
    Begun,
    No,
}

impl Form {
    fn compare(&self, text: &[u8]) -> Match {
        match self {
            Self::Exact(bytes) | Self::Base64 { digits: bytes, has_tail: false } => exact(bytes, text),
            Self::Base64 { digits, has_tail: true } => match (exact(digits, text), text.get(digits.len())) {
                (Match::Whole(length), None) => Match::Open(length),
                (Match::Whole(length), Some(next)) => Match::Whole(length + usize::from(is_digit(*next))),
                (other, _) => other,
            },
            Self::Percent(bytes) => percent(bytes, text),
            Self::Escaped { secret, times } => escaped(secret, *times, text),
        }
    }

    /// The pairs of bytes that its text can begin with.
    fn beginnings(&self) -> Vec<[u8; 2]> {
        match self {
            Self::Exact(bytes) | Self::Base64 { digits: bytes, .. } => vec![[bytes[0], bytes[1]]],
            Self::Percent(bytes) => {
                let plain = |byte: u8| [Some(byte), (byte == b' ').then_some(b'+')].into_iter().flatten();
                let high = char::from_digit(u32::from(bytes[0] >> 4), 16).unwrap_or('0');
                let escaped = [high, high.to_ascii_uppercase()].map(|digit| [b'%', digit as u8]);
                let second = || plain(bytes[1]).chain([b'%']);
                let plain = plain(bytes[0]).flat_map(|first| second().map(move |second| [first, second]));
                plain.chain(escaped).collect()
            }
            Self::Escaped { secret, times } => {
                let mut chars = secret.chars();
                let first = chars.next();
                let second = match secret.as_bytes()[1] {
                    // Within the first character nothing is escaped.
                    byte if first.is_some_and(|first| !first.is_ascii()) => vec![byte],
                    byte => vec![byte, b'\\'],
                };
                let plain = second.into_iter().map(|second| [secret.as_bytes()[0], second]);
                let short = (0..=127_u8).filter(|letter| short(char::from(*letter)) == first);
                let escapes = short.chain(*b"ux").chain((*times > 1).then_some(b'\\'));
                plain.chain(escapes.map(|letter| [b'\\', letter])).collect()
            }
        }
    }
}

fn exact(bytes: &[u8], text: &[u8]) -> Match {
    if text.starts_with(bytes) {
        Match::Whole(bytes.len())
    } else if bytes.starts_with(text) {
        Match::Begun
    } else {
        Match::No
    }
}

fn percent(bytes: &[u8], text: &[u8]) -> Match {
    let value = |digit: u8| char::from(digit).to_digit(16);
    let mut at = 0;
    for byte in bytes {
        let (high, low) = (u32::from(byte >> 4), u32::from(byte & 15));
        at += match &text[at..] {
            [] => return Match::Begun,
            [b'%', first, second, ..] if value(*first) == Some(high) && value(*second) == Some(low) => 3,
            [b'%'] => return Match::Begun,
            [b'%', first] if value(*first) == Some(high) => return Match::Begun,
            [plain, ..] if plain == byte => 1,
            [b'+', ..] if *byte == b' ' => 1,
            _ => return Match::No,
        };
    }
    Match::Whole(at)
}

fn escaped(secret: &str, times: u8, text: &[u8]) -> Match {
    let mut at = 0;
    for wanted in secret.chars() {
        match unescape(text, &mut at, times) {
            Ok(found) if found == wanted => {}
            Ok(_) | Err(Stop::Wrong) => return Match::No,
            Err(Stop::End) => return Match::Begun,
        }
    }
    Match::Whole(at)
}

/// Why no character can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    /// The text ends before it does.
    End,
    /// There is none.
    Wrong,
}

/// Reads the next character of a text that was escaped so many times.
fn unescape(text: &[u8], at: &mut usize, times: u8) -> Result<char, Stop> {
    let Some(inner) = times.checked_sub(1) else { return character(text, at) };
    let mut next = || unescape(text, at, inner);
    let plain = next()?;
    if plain != '\\' {
        return Ok(plain);
    }
    let code = match next()? {
        'x' => number(2, &mut next)?,
        'u' => {
            let high = number(4, &mut next)?;
            let is_pair = (0xd800..0xdc00).contains(&high);
            if is_pair && !(next()? == '\\' && next()? == 'u') {
                return Err(Stop::Wrong);
            }
            match is_pair {
                // As in UTF-16, which JSON counts in.
                true => 0x10000 + ((high - 0xd800) << 10) + (number(4, &mut next)? & 0x3ff),
                false => high,
            }
        }
        letter => return short(letter).ok_or(Stop::Wrong),
    };
    char::from_u32(code).ok_or(Stop::Wrong)
}

/// Reads a hexadecimal number of so many digits, or of any digits in braces.
fn number(digits: u32, next: &mut impl FnMut() -> Result<char, Stop>) -> Result<u32, Stop> {
    let value = |digit: char| digit.to_digit(16).ok_or(Stop::Wrong);
    let first = next()?;
    let mut number = 0;
    if first == '{' {
        // No character has more.
        for _ in 0..7 {
            match next()? {
                '}' => return Ok(number),
                digit => number = number << 4 | value(digit)?,
            }
        }
        return Err(Stop::Wrong);
    }
    number = value(first)?;
    for _ in 1..digits {
        number = number << 4 | value(next()?)?;
    }
    Ok(number)
}

/// Returns the character that a letter behind a backslash stands for.
fn short(letter: char) -> Option<char> {
    Some(match letter {
        'b' => '\u{8}',
        'f' => '\u{c}',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        '0' => '\0',
        '"' | '\'' | '/' | '\\' => letter,
        _ => return None,
    })
}

/// Reads the next character as it is.
fn character(text: &[u8], at: &mut usize) -> Result<char, Stop> {
    let text = &text[*at..];
    let width = match text.first().ok_or(Stop::End)? {
        0..=0x7f => 1,
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf4 => 4,
        _ => return Err(Stop::Wrong),
    };
    let bytes = text.get(..width).ok_or(Stop::End)?;
    *at += width;
    std::str::from_utf8(bytes).ok().and_then(|text| text.chars().next()).ok_or(Stop::Wrong)
}

/// Whether a byte is a digit of either base64 alphabet.
fn is_digit(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"+/-_".contains(&byte)
}

/// The base64 digits that are made of a secret alone, if it stands behind none, one or two bytes. More bytes
/// before it come to the same.
fn in_base64(secret: &[u8], alphabet: &GeneralPurpose) -> [Form; 3] {
    [(0, 0), (1, 2), (2, 3)].map(|(before, mixed)| {
        let bytes = [&[0; 2][..before], secret].concat();
        let digits = alphabet.encode(&bytes);
        let sure = bytes.len() * 8 / 6;
        Form::Base64 { digits: digits.as_bytes()[mixed..sure].into(), has_tail: digits.len() > sure }
    })
}

/// Makes all forms of a secret, each with the length of its shortest telling beginning.
fn forms(secret: &str) -> Vec<(Form, usize)> {
    let lower: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
    let upper = lower.to_ascii_uppercase();
    let exact = |text: &String| Form::Exact(text.as_bytes().into());
    // Twice: a guest that reports a failed child quotes its message again.
    let escaped = [1, 2].map(|times| (Form::Escaped { secret: secret.into(), times }, TELLING));
    let hex = [lower, upper];
    let hex = hex.iter().map(|text| (exact(text), TELLING_HEX));
    let base64 = [STANDARD_NO_PAD, URL_SAFE_NO_PAD];
    let base64 = base64.iter().flat_map(|alphabet| in_base64(secret.as_bytes(), alphabet));
    let base64 = base64.map(|form| (form, TELLING_BASE64));
    // This is also the plain secret, with nothing encoded.
    let percent = (Form::Percent(secret.as_bytes().into()), TELLING);
    std::iter::once(percent).chain(escaped).chain(hex).chain(base64).collect()
}

/// A form and its replacement.
struct Needle {
    form: Form,
    /// The length of its shortest telling beginning.
    telling: usize,
    placeholder: Arc<str>,
}

/// Finds secrets in text, and replaces them by their names.
pub(super) struct Scrubber {
    needles: Vec<Needle>,
    /// A bit for each pair of bytes that a needle begins with. It rules out nearly all text.
    pairs: Box<[u64; 1024]>,
    /// For each byte, whether a needle begins with it: for the last byte of a text.
    firsts: [bool; 256],
}

/// The findings at a place where a needle may begin.
enum Found<'s> {
    Nothing,
    /// The text is too short to tell.
    Begun,
    Secret(usize, &'s str),
}

impl Scrubber {
    /// Prepares the search for some secrets; `None` if there are none.
    pub(super) fn new(secrets: &[SecretGrant]) -> Option<Self> {
        let mut scrubber = Self { needles: Vec::new(), pairs: Box::new([0; 1024]), firsts: [false; 256] };
        for secret in secrets {
            let placeholder: Arc<str> = format!("[secret {}]", secret.name).into();
            for (form, telling) in secret.value().map(forms).unwrap_or_default() {
                for [first, second] in form.beginnings() {
                    let pair = pair(first, second);
                    scrubber.pairs[pair / 64] |= 1 << (pair % 64);
                    scrubber.firsts[usize::from(first)] = true;
                }
                scrubber.needles.push(Needle { form, telling, placeholder: Arc::clone(&placeholder) });
            }
        }
        (!scrubber.needles.is_empty()).then_some(scrubber)
    }

    /// Takes the text out of `held`, scrubbed, but for an end that may be the beginning of a secret. At the
    /// end of all text (`is_end`) it takes that too.
    pub(super) fn pass(&self, held: &mut Vec<u8>, is_end: bool) -> Vec<u8> {
        let mut out = Vec::new();
        // The text before `passed` is in `out`.
        let (mut at, mut passed) = (0, 0);
        while let Some(start) = self.next(held, at) {
            match self.look(&held[start..], is_end) {
                Found::Nothing => at = start + 1,
                Found::Begun => {
                    out.extend_from_slice(&held[passed..start]);
                    held.drain(..start);
                    return out;
                }
                Found::Secret(length, placeholder) => {
                    out.extend_from_slice(&held[passed..start]);
                    out.extend_from_slice(placeholder.as_bytes());
                    at = start + length;
                    passed = at;
                }
            }
        }
        let rest = std::mem::take(held);
        if passed == 0 {
            return rest;
        }
        out.extend_from_slice(&rest[passed..]);
        out
    }

    /// Finds the next place, from `at` on, where a needle may begin.
    fn next(&self, text: &[u8], at: usize) -> Option<usize> {
        let text = text.get(at..)?;
        let may_begin = |pair: &[u8]| {
            let pair = self::pair(pair[0], pair[1]);
            self.pairs[pair / 64] >> (pair % 64) & 1 == 1
        };
        let last = || text.last().filter(|last| self.firsts[usize::from(**last)]).map(|_| text.len() - 1);
        text.windows(2).position(may_begin).or_else(last).map(|found| at + found)
    }

    /// Finds the longest secret that a text begins with.
    fn look(&self, text: &[u8], is_end: bool) -> Found<'_> {
        let mut found = Found::Nothing;
        let mut longest = 0;
        for needle in &self.needles {
            match needle.form.compare(text) {
                // It would be longer than the one that was found.
                Match::Begun | Match::Open(_) if !is_end => return Found::Begun,
                Match::Whole(length) | Match::Open(length) if length > longest => {
                    longest = length;
                    found = Found::Secret(length, &needle.placeholder);
                }
                _ => {}
            }
        }
        found
    }

    /// Scrubs a whole text.
    pub(super) fn scrub<'t>(&self, text: &'t str) -> Cow<'t, str> {
        if self.next(text.as_bytes(), 0).is_none() {
            return text.into();
        }
        let out = self.pass(&mut text.as_bytes().to_vec(), true);
        // Text was replaced by text: it is still UTF-8.
        String::from_utf8(out)
            .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
            .into()
    }

    /// Scrubs a text that may have been cut off within a secret, with `…` at its end or without.
    pub(super) fn scrub_cut(&self, text: &str) -> String {
        let mut text = self.scrub(text).into_owned();
        let body = text.strip_suffix('…').unwrap_or(&text).len();
        let mark = if body < text.len() { "…" } else { "" };
        let mut at = 0;
        while let Some(start) = self.next(&text.as_bytes()[..body], at) {
            let end = &text.as_bytes()[start..body];
            let is_begun =
                |needle: &Needle| end.len() >= needle.telling && needle.form.compare(end) == Match::Begun;
            if self.needles.iter().any(is_begun) {
                text.truncate(text.floor_char_boundary(start));
                text.push_str(mark);
                break;
            }
            at = start + 1;
        }
        text
    }
}

fn pair(first: u8, second: u8) -> usize {
    usize::from(u16::from_be_bytes([first, second]))
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::{STANDARD, URL_SAFE};

    use super::*;
    use crate::wasm::SecretSource;

    fn scrubber(values: &[&str]) -> Scrubber {
        let secrets = values.iter().enumerate().map(|(n, value)| {
            let secret = SecretGrant::new(format!("S{n}"), SecretSource::Environment(String::new()));
            secret.fill((*value).to_owned());
            secret
        });
        Scrubber::new(&secrets.collect::<Vec<_>>()).unwrap()
    }

    /// What comes out if the text comes in pieces of this length.
    fn in_pieces(scrubber: &Scrubber, text: &str, length: usize) -> String {
        let (mut held, mut out) = (Vec::new(), Vec::new());
        for piece in text.as_bytes().chunks(length) {
            held.extend_from_slice(piece);
            out.append(&mut scrubber.pass(&mut held, false));
        }
        out.append(&mut scrubber.pass(&mut held, true));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_secret_is_found_however_it_is_split() {
        let scrubber = scrubber(&["hunter2", "päss🦀word"]);
        let text = "a hunter2 b hunterhunter2, päss🦀word hunter";
        let expected = "a [secret S0] b hunter[secret S0], [secret S1] hunter";
        for length in 1..=text.len() {
            assert_eq!(in_pieces(&scrubber, text, length), expected, "in pieces of {length}");
        }
        assert_eq!(scrubber.scrub(text), expected);
        assert_eq!(scrubber.scrub("xxxxxxx"), "xxxxxxx");
    }

    #[test]
    fn of_two_secrets_that_begin_alike_the_longer_is_found() {
        let scrubber = scrubber(&["abcd", "abcdefgh"]);
        for length in 1..10 {
            assert_eq!(in_pieces(&scrubber, "abcdefgh abcdef", length), "[secret S1] [secret S0]ef");
        }
    }

    #[test]
    fn quoted_forms_are_found_as_well() {
        let scrubber = scrubber(&["a\"b\\c\nd"]);
        assert_eq!(scrubber.scrub(r#"{"x":"a\"b\\c\nd"}"#), r#"{"x":"[secret S0]"}"#);
        assert_eq!(scrubber.scrub("a\"b\\c\nd"), "[secret S0]");
    }

    #[test]
    fn escaped_forms_are_found_whichever_library_made_them() {
        let one = scrubber(&["S3cr\"et<&w\u{f6}rd/+x\u{1f980}\u{2028}\\n"]);
        for text in [
            // serde_json, JSON.stringify
            "S3cr\\\"et<&w\u{f6}rd/+x\u{1f980}\u{2028}\\\\n".to_owned(),
            // encoding/json of Go
            "S3cr\\\"et\\u003c\\u0026w\u{f6}rd/+x\u{1f980}\\u2028\\\\n".to_owned(),
            // json.dumps of Python
            r#"S3cr\"et<&w\u00f6rd/+x\ud83e\udd80\u2028\\n"#.to_owned(),
            // json_encode of PHP
            r#"S3cr\"et<&w\u00f6rd\/+x\ud83e\udd80\u2028\\n"#.to_owned(),
            // Others, with upper case
            r#"S3cr\u0022et\u003C\x26w\xF6rd\u002F\u002B\x78\uD83E\uDD80\u2028\u005Cn"#.to_owned(),
            // Rust
            format!("{:?}", "S3cr\"et<&w\u{f6}rd/+x\u{1f980}\u{2028}\\n").trim_matches('"').to_owned(),
        ] {
            is_found(&one, &format!("key={text}."), "key=[secret S0].");
            let twice = serde_json::to_string(&text).unwrap();
            is_found(&one, &format!("key={twice}."), "key=\"[secret S0]\".");
        }
        for text in [r#"S3cr\"et\u003d"#, r"S3cr\u{", r"S3cr\q", r"\ud83ex", r"\u"] {
            is_found(&one, text, text);
        }
    }

    /// A secret whose base64 differs in the two alphabets, and that has what is quoted
    /// and what is percent-encoded in it.
    const AWKWARD: &str = "p\u{e4}ss w/\u{3ff}\u{3fe}?%2f\"\u{1f980}~.";

    /// Asserts that a text has nothing of the secret in it but its placeholder, whole
    /// or in pieces.
    #[track_caller]
    fn is_found(scrubber: &Scrubber, text: &str, expected: &str) {
        assert_eq!(scrubber.scrub(text), expected);
        for length in [1, 2, 3, 7] {
            assert_eq!(in_pieces(scrubber, text, length), expected, "in pieces of {length}");
        }
    }

    #[test]
    fn base64_is_found_wherever_in_it_the_secret_begins_and_ends() {
        for secret in ["4byt", "5byte", "6bytes", "hunter2", AWKWARD] {
            let scrubber = scrubber(&[secret]);
            for before in ["", "u", "us", "user:", "another user:"] {
                for after in ["", "a", "ab", "abc", " and more"] {
                    for alphabet in [STANDARD, URL_SAFE, STANDARD_NO_PAD, URL_SAFE_NO_PAD] {
                        let clean = [before, after].map(|text| alphabet.encode(text));
                        let text = alphabet.encode(format!("{before}{secret}{after}"));
                        let found = scrubber.scrub(&format!("Authorization: Basic {text}\n")).into_owned();
                        let (start, end) = found
                            .strip_prefix("Authorization: Basic ")
                            .and_then(|rest| rest.split_once("[secret S0]"))
                            .unwrap_or_else(|| panic!("{secret} in {text}: {found}"));
                        // What is left of both ends is made of what stands there, but for
                        // a digit before it.
                        assert!(start.len() <= clean[0].len() && end.len() <= clean[1].len() + 3, "{found}");
                        for length in [1, 2, 3, 7] {
                            let pieces =
                                in_pieces(&scrubber, &format!("Authorization: Basic {text}\n"), length);
                            assert_eq!(pieces, found, "in pieces of {length}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn the_last_digit_of_base64_goes_with_the_others() {
        // "hunter2" has 56 bits: 9 digits, and 2 bits in the tenth.
        let scrubber = scrubber(&["hunter2"]);
        assert_eq!(STANDARD.encode("hunter2"), "aHVudGVyMg==");
        is_found(&scrubber, "key aHVudGVyMg==", "key [secret S0]==");
        is_found(&scrubber, "key aHVudGVyMg", "key [secret S0]");
        is_found(&scrubber, "key aHVudGVyM", "key [secret S0]");
        is_found(&scrubber, "key aHVudGVyM.", "key [secret S0].");
    }

    #[test]
    fn hexadecimal_digits_are_found_in_both_cases() {
        let scrubber = scrubber(&["jk\u{e9}lmn"]);
        is_found(&scrubber, "x6a6bc3a96c6d6ey", "x[secret S0]y");
        is_found(&scrubber, "0x6A6BC3A96C6D6E", "0x[secret S0]");
        is_found(&scrubber, "6a6bc3a96c6d", "6a6bc3a96c6d");
    }

    #[test]
    fn percent_encoding_is_found_whatever_it_encodes() {
        let one = scrubber(&["a b/c?\u{e9}~"]);
        for text in
            ["a%20b%2Fc%3F%C3%A9~", "a+b%2fc%3f%c3%a9%7e", "a%20b/c?%C3%A9~", "%61%20%62%2f%63%3f%c3%a9%7e"]
        {
            is_found(&one, &format!("GET /?key={text}&x=1"), "GET /?key=[secret S0]&x=1");
        }
        is_found(&one, "a%20b%2Gc", "a%20b%2Gc");
        is_found(&one, "100%", "100%");
        // A secret that looks as if it were encoded.
        let two = scrubber(&["100%25+x"]);
        is_found(&two, "100%25+x 100%2525+x 100%2525%2Bx", "[secret S0] [secret S0] [secret S0]");
    }

    #[test]
    fn of_an_encoded_and_a_plain_secret_the_longer_is_found() {
        let scrubber = scrubber(&["abcd", "abcd efgh"]);
        is_found(&scrubber, "abcd%20efgh abcd%20efg", "[secret S1] [secret S0]%20efg");
    }

    #[test]
    fn what_was_cut_off_within_a_secret_goes_too() {
        let scrubber = scrubber(&["hunter2-and-more"]);
        for (text, left) in [
            ("said hunter2-an…", "said …"),
            ("said hunter2-an", "said "),
            ("said aHVudGVyMi1h…", "said …"),
            ("said 68756e74657232…", "said …"),
            ("said %68unter2%2…", "said …"),
            ("said hunter2-and-more…", "said [secret S0]…"),
        ] {
            assert_eq!(scrubber.scrub_cut(text), left, "{text}");
        }
        for any in ["said hun", "said aHVu", "said 68756e", "said a"] {
            assert_eq!(scrubber.scrub_cut(any), any, "that can be anything");
        }
    }

    /// Said in the documents.
    #[test]
    fn what_is_not_looked_for_is_not_found() {
        let scrubber = scrubber(&["hunter2-and-more"]);
        let twice = STANDARD.encode(STANDARD.encode("hunter2-and-more"));
        let reversed: String = "hunter2-and-more".chars().rev().collect();
        for text in [&*twice, &reversed, "68:75:6e:74:65:72:32", "hunter2-\nand-more", "HUNTER2-AND-MORE"] {
            assert_eq!(scrubber.scrub(text), text);
        }
    }

    #[test]
    fn nothing_is_looked_for_if_there_is_no_secret() {
        let secret = SecretGrant::new("KEY".to_owned(), SecretSource::Environment("FROM".to_owned()));
        assert!(Scrubber::new(std::slice::from_ref(&secret)).is_none());
        secret.fill("hunter2".to_owned());
        assert!(Scrubber::new(&[secret]).is_some());
    }
}
