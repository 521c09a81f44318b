//! The platform's own task: it calls the plugin of the customer that its arguments name. Whatever the plugin
//! does, the dispatcher gets a value or a failure.

use exports::platform::dispatcher::dispatch::Guest;
use wasm_runner::task::invocations;
use wasm_runner::task::types::{Error, Failure, Refusal};

wit_bindgen::generate!({
    path: ["../../../wit", "wit"],
    world: "platform:dispatcher/dispatcher",
    generate_all,
});

struct Dispatcher;
export!(Dispatcher);

impl Guest for Dispatcher {
    fn transform(customer: String, text: String) -> Result<String, String> {
        // The name comes from outside: it must name a component and nothing else.
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '-';
        if customer.is_empty() || !customer.chars().all(is_name) {
            return Err(format!("`{customer}` is no customer"));
        }
        let task = format!("{customer}::platform:plugin/text@1.transform");
        let arguments = serde_json::json!([text]).to_string();
        let value = invocations::call(&task, &arguments).map_err(|error| explain(&customer, error))?;
        serde_json::from_str(&value).map_err(|error| format!("the plugin's value is no text: {error}"))
    }
}

/// Says what became of a call, in words for the customer.
fn explain(customer: &str, error: Error) -> String {
    match error {
        Error::Failed(Failure::Returned(error)) => format!("the plugin says: {error}"),
        Error::Failed(Failure::TimedOut(message) | Failure::LimitExceeded(message)) => {
            format!("the plugin of `{customer}` was stopped: {message}")
        }
        Error::Failed(Failure::Cancelled(message)) => {
            format!("the call of the plugin of `{customer}` was cancelled: {message}")
        }
        Error::Failed(Failure::Trapped(message) | Failure::Skipped(message) | Failure::Lost(message)) => {
            format!("the plugin of `{customer}` failed: {message}")
        }
        Error::Refused(Refusal::UnknownTask(_)) => format!("`{customer}` has no plugin"),
        Error::Refused(
            Refusal::BadArguments(message)
            | Refusal::UnknownInvocation(message)
            | Refusal::Denied(message)
            | Refusal::Cycle(message)
            | Refusal::Limit(message)
            | Refusal::Unavailable(message),
        ) => format!("the plugin of `{customer}` can't be called: {message}"),
    }
}
