//! A customer's plugin in Rust: it puts a text into upper case.

use exports::platform::plugin::text::Guest;

wit_bindgen::generate!({ path: "../wit", world: "platform:plugin/plugin" });

struct Upper;
export!(Upper);

impl Guest for Upper {
    fn transform(text: String) -> Result<String, String> {
        if text.is_empty() {
            return Err("there is no text".to_owned());
        }
        Ok(text.to_uppercase())
    }
}
