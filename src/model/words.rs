//! Enums whose cases are words outside of the program.

/// Declares an enum of which each case is a word in SQL, JSON, flags and docs.
macro_rules! words {
    ($(#[$meta:meta])* pub enum $name:ident { $($(#[$doc:meta])* $case:ident = $word:literal,)+ }) => {
        $(#[$meta])*
        #[derive(serde::Serialize, serde::Deserialize)]
        pub enum $name {
            $($(#[$doc])* #[serde(rename = $word)] $case,)+
        }

        impl $name {
            /// Every case, in the order of the declaration.
            pub const ALL: [Self; [$($word),+].len()] = [$(Self::$case),+];

            /// Returns the word used in SQL, JSON, flags and docs.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$case => $word,)+
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }
    };
}

pub(crate) use words;
