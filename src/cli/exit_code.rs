//! The exit codes, which scripts rely on.

use crate::authoring::AuthoringError;
use crate::model::ExitClass;
use crate::service::ServiceError;
use crate::store::StoreError;

use super::error::CliError;

/// Everything went well.
pub const SUCCESS: u8 = 0;
/// The task returned an error; or what `torture` or `component diff` was to check
/// does not hold.
pub const RETURNED: u8 = 1;
/// A wrong flag, an unknown task or invocation, bad arguments.
pub const USAGE: u8 = 2;
/// The task trapped or exited, or its runners disappeared.
pub const TRAPPED: u8 = 3;
/// A limit ended it: time, memory, fuel, size of the value; or a quota refused the submit.
pub const LIMIT: u8 = 4;
/// It was cancelled or skipped.
pub const NOT_WANTED: u8 = 5;
/// The store can't be reached or can't be used.
pub const STORE: u8 = 69;
/// The operating system refused what a runner needs.
pub const SYSTEM: u8 = 71;
/// Standard output can't be written to (a full disk; a closed pipe is success).
pub const OUTPUT: u8 = 74;
/// Not final yet.
pub const NOT_FINAL: u8 = 75;
/// Bad configuration or component, or a project that can't be built.
pub const CONFIG: u8 = 78;

/// The exit code of a failed task.
pub fn of_class(class: ExitClass) -> u8 {
    match class {
        ExitClass::Returned => RETURNED,
        ExitClass::Trapped => TRAPPED,
        ExitClass::Limit => LIMIT,
        ExitClass::NotWanted => NOT_WANTED,
    }
}

/// The exit code of an error. The only place that decides it.
pub fn of(error: &CliError) -> u8 {
    match error {
        CliError::Usage { .. } | CliError::Authoring(AuthoringError::Usage { .. }) => USAGE,
        CliError::Service(error) => of_operation(error),
        CliError::Authoring(AuthoringError::Build { .. }) => CONFIG,
        CliError::Authoring(AuthoringError::System(_)) => SYSTEM,
        // Only between this program and itself.
        CliError::Compile(error) => error.code,
        CliError::Task(class) => of_class(*class),
        CliError::Violated { .. } => RETURNED,
        CliError::NotFinal { .. } => NOT_FINAL,
        CliError::Output(_) => OUTPUT,
        CliError::BrokenPipe => SUCCESS,
    }
}

fn of_operation(error: &ServiceError) -> u8 {
    match error {
        ServiceError::Unknown { .. } | ServiceError::Invalid { .. } | ServiceError::Conflict { .. } => USAGE,
        ServiceError::OverQuota { .. } => LIMIT,
        ServiceError::NewRights(_) | ServiceError::RemovedTasks(_) => RETURNED,
        ServiceError::Config(problems) if problems.is_usage() => USAGE,
        ServiceError::Config(_) | ServiceError::NoComponents(_) | ServiceError::Load(_) => CONFIG,
        ServiceError::Store(StoreError::BadUrl { .. }) => USAGE,
        // Also what later versions of the store may add: all of it is the
        // store's fault.
        ServiceError::Store(_) | ServiceError::Uncertain { .. } => STORE,
        ServiceError::System(_) => SYSTEM,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ConfigError, Origin, Problem};

    #[test]
    fn the_codes_are_those_of_the_contract() {
        let unavailable = StoreError::Unavailable { url: String::new(), message: String::new() };
        let unusable = StoreError::Unusable { url: String::new(), message: String::new() };
        let upgraded = StoreError::Upgraded { url: String::new(), found: 2, known: 1 };
        let bad_url = StoreError::BadUrl { url: String::new(), message: String::new() };
        let problem = |origin| CliError::from(ConfigError::from(Problem::new(origin, "")));
        let table = [
            (CliError::Task(ExitClass::Returned), 1),
            (CliError::Violated { message: String::new(), hint: String::new() }, 1),
            (ServiceError::NewRights(String::new()).into(), 1),
            (ServiceError::RemovedTasks(String::new()).into(), 1),
            (CliError::usage(""), 2),
            (ServiceError::Store(bad_url).into(), 2),
            (problem(Origin::Flag), 2),
            (problem(Origin::Environment), 2),
            (CliError::Task(ExitClass::Trapped), 3),
            (CliError::Task(ExitClass::Limit), 4),
            (ServiceError::OverQuota { message: String::new(), kind: None }.into(), 4),
            (CliError::Task(ExitClass::NotWanted), 5),
            (ServiceError::Store(unavailable).into(), 69),
            (ServiceError::Store(unusable).into(), 69),
            (ServiceError::Store(upgraded).into(), 69),
            (CliError::NotFinal { message: String::new(), hint: None }, 75),
            (problem(Origin::File), 78),
            (ServiceError::Load(Vec::new()).into(), 78),
            (AuthoringError::build("").into(), 78),
            (CliError::BrokenPipe, 0),
        ];
        for (error, code) in table {
            assert_eq!(of(&error), code, "{error:?}");
        }
    }
}
