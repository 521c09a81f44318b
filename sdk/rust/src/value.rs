//! The values that tasks take and return.

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::hash::Hash;

use serde_json::{Map, json};

use crate::json::{Json, tagged};

/// A type that has one in WIT. The macro implements it for the structs and enums of a
/// module of tasks.
pub trait Value: Sized {
    /// The type in the bindings.
    type Wit;

    /// True for an `Option`: inside another `Option`, `null` alone would be ambiguous.
    const IS_OPTION: bool = false;

    /// From the bindings.
    fn lift(wit: Self::Wit) -> Self;
    /// To the bindings.
    fn lower(self) -> Self::Wit;
    /// To JSON.
    fn to_json(&self) -> Json;
    /// From JSON; the error is a message.
    fn from_json(json: &Json) -> Result<Self, String>;
}

/// Types that are the same in the bindings.
macro_rules! plain {
    ($($type:ty: $value:ident => $to:expr, $json:ident => $from:expr;)*) => {$(
        impl Value for $type {
            type Wit = $type;

            fn lift(wit: $type) -> Self {
                wit
            }

            fn lower(self) -> $type {
                self
            }

            fn to_json(&self) -> Json {
                let $value = self;
                $to
            }

            fn from_json($json: &Json) -> Result<Self, String> {
                let found: Option<Self> = $from;
                found.ok_or_else(|| format!("{} is no {}", $json, stringify!($type)))
            }
        }
    )*};
}

plain! {
    bool: value => json!(value), json => json.as_bool();
    u8: value => json!(value), json => json.as_u64().and_then(|n| n.try_into().ok());
    u16: value => json!(value), json => json.as_u64().and_then(|n| n.try_into().ok());
    u32: value => json!(value), json => json.as_u64().and_then(|n| n.try_into().ok());
    u64: value => json!(value), json => json.as_u64();
    i8: value => json!(value), json => json.as_i64().and_then(|n| n.try_into().ok());
    i16: value => json!(value), json => json.as_i64().and_then(|n| n.try_into().ok());
    i32: value => json!(value), json => json.as_i64().and_then(|n| n.try_into().ok());
    i64: value => json!(value), json => json.as_i64();
    f32: value => float(f64::from(*value)), json => read_float(json).map(|value| value as f32);
    f64: value => float(*value), json => read_float(json);
    char: value => json!(value), json => json.as_str().and_then(|text| text.chars().next());
    String: value => json!(value), json => json.as_str().map(str::to_owned);
    (): _value => Json::Null, json => json.is_null().then_some(());
}

fn float(value: f64) -> Json {
    match value {
        f64::INFINITY => json!("Infinity"),
        f64::NEG_INFINITY => json!("-Infinity"),
        value if value.is_nan() => json!("NaN"),
        value => json!(value),
    }
}

fn read_float(json: &Json) -> Option<f64> {
    match json.as_str() {
        Some(text @ ("NaN" | "Infinity" | "-Infinity")) => text.parse().ok(),
        _ => json.as_f64(),
    }
}

impl Value for Infallible {
    type Wit = Infallible;

    fn lift(wit: Infallible) -> Self {
        wit
    }

    fn lower(self) -> Infallible {
        self
    }

    fn to_json(&self) -> Json {
        match *self {}
    }

    fn from_json(json: &Json) -> Result<Self, String> {
        Err(format!("{json} is an error of a task that returns none"))
    }
}

impl<T: Value> Value for Vec<T> {
    type Wit = Vec<T::Wit>;

    fn lift(wit: Self::Wit) -> Self {
        wit.into_iter().map(T::lift).collect()
    }

    fn lower(self) -> Self::Wit {
        self.into_iter().map(T::lower).collect()
    }

    fn to_json(&self) -> Json {
        self.iter().map(T::to_json).collect::<Vec<_>>().into()
    }

    fn from_json(json: &Json) -> Result<Self, String> {
        json.as_array().ok_or_else(|| format!("{json} is no list"))?.iter().map(T::from_json).collect()
    }
}

impl<T: Value> Value for Option<T> {
    type Wit = Option<T::Wit>;

    const IS_OPTION: bool = true;

    fn lift(wit: Self::Wit) -> Self {
        wit.map(T::lift)
    }

    fn lower(self) -> Self::Wit {
        self.map(T::lower)
    }

    fn to_json(&self) -> Json {
        match self {
            None => Json::Null,
            Some(value) if T::IS_OPTION => json!({"some": value.to_json()}),
            Some(value) => value.to_json(),
        }
    }

    fn from_json(json: &Json) -> Result<Self, String> {
        match json {
            Json::Null => Ok(None),
            json if T::IS_OPTION => T::from_json(crate::member(json, "some")?).map(Some),
            json => T::from_json(json).map(Some),
        }
    }
}

impl<T: Value, E: Value> Value for Result<T, E> {
    type Wit = Result<T::Wit, E::Wit>;

    fn lift(wit: Self::Wit) -> Self {
        wit.map(T::lift).map_err(E::lift)
    }

    fn lower(self) -> Self::Wit {
        self.map(T::lower).map_err(E::lower)
    }

    fn to_json(&self) -> Json {
        match self {
            Ok(value) => json!({"ok": value.to_json()}),
            Err(error) => json!({"err": error.to_json()}),
        }
    }

    fn from_json(json: &Json) -> Result<Self, String> {
        match tagged(json)? {
            ("ok", value) => T::from_json(value).map(Ok),
            ("err", error) => E::from_json(error).map(Err),
            _ => Err(format!("{json} is neither `ok` nor `err`")),
        }
    }
}

/// Maps, as lists of pairs: WIT has none.
macro_rules! maps {
    ($($map:ident: $($bound:ident +)* ;)*) => {$(
        impl<K: Value $(+ $bound)*, V: Value> Value for $map<K, V> {
            type Wit = Vec<(K::Wit, V::Wit)>;

            fn lift(wit: Self::Wit) -> Self {
                wit.into_iter().map(|(key, value)| (K::lift(key), V::lift(value))).collect()
            }

            fn lower(self) -> Self::Wit {
                self.into_iter().map(|(key, value)| (key.lower(), value.lower())).collect()
            }

            fn to_json(&self) -> Json {
                self.iter().map(|(key, value)| json!([key.to_json(), value.to_json()])).collect::<Vec<_>>().into()
            }

            fn from_json(json: &Json) -> Result<Self, String> {
                Ok(Vec::<(K, V)>::from_json(json)?.into_iter().collect())
            }
        }
    )*};
}

maps! {
    BTreeMap: Ord +;
    HashMap: Eq + Hash +;
}

macro_rules! tuples {
    ($($count:literal: $($name:ident $index:tt),*;)*) => {$(
        impl<$($name: Value),*> Value for ($($name,)*) {
            type Wit = ($($name::Wit,)*);

            fn lift(wit: Self::Wit) -> Self {
                ($($name::lift(wit.$index),)*)
            }

            fn lower(self) -> Self::Wit {
                ($(self.$index.lower(),)*)
            }

            fn to_json(&self) -> Json {
                json!([$(self.$index.to_json()),*])
            }

            fn from_json(json: &Json) -> Result<Self, String> {
                let elements = json.as_array().filter(|elements| elements.len() == $count);
                let elements = elements.ok_or_else(|| format!("{json} has not {} elements", $count))?;
                Ok(($($name::from_json(&elements[$index])?,)*))
            }
        }
    )*};
}

tuples! {
    1: A 0;
    2: A 0, B 1;
    3: A 0, B 1, C 2;
    4: A 0, B 1, C 2, D 3;
    5: A 0, B 1, C 2, D 3, E 4;
    6: A 0, B 1, C 2, D 3, E 4, F 5;
}

/// An object from its members.
#[doc(hidden)]
pub fn object<const N: usize>(members: [(&str, Json); N]) -> Json {
    Json::Object(members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect::<Map<_, _>>())
}
