//! Tells shortages of the host from all other errors.

use std::error::Error;
use std::io;

use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};
use wasmtime::{OutOfMemory, PoolConcurrencyLimitError};

use crate::model::{Failure, NoGuest, Shortage};

/// Finds the shortage that an error, met while something is prepared for a guest, comes from; `None` if it is
/// another error.
pub(super) fn shortage_of(error: &(dyn Error + 'static)) -> Option<Shortage> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let found = shortage_itself(error);
        if found.is_some() {
            return found;
        }
        cause = error.source();
    }
    None
}

/// Reads one error of a chain.
fn shortage_itself(error: &(dyn Error + 'static)) -> Option<Shortage> {
    if let Some(full) = error.downcast_ref::<PoolConcurrencyLimitError>() {
        return Some(Shortage(format!("instances: {full}; lower `max-live`")));
    }
    if error.is::<OutOfMemory>() {
        return named(Errno::NOMEM);
    }
    let errno = error.downcast_ref::<Errno>().copied();
    let of_io = |error: &io::Error| Errno::from_io_error(error);
    named(errno.or_else(|| error.downcast_ref().and_then(of_io))?)
}

/// Makes the reason why there is no guest: the shortage that `error` comes from, or else the failure.
pub(super) fn no_guest(error: &(dyn Error + 'static), failure: impl FnOnce() -> Failure) -> NoGuest {
    shortage_of(error).map_or_else(|| NoGuest::Failed(failure()), NoGuest::Short)
}

/// Names what is short, and what gives more of it.
fn named(errno: Errno) -> Option<Shortage> {
    Some(Shortage(match errno {
        // This error says that every number below the limit is in use: they can't be counted without one.
        Errno::MFILE => match getrlimit(Resource::Nofile).current {
            Some(most) => format!("file descriptors: {most} of {most} open; raise the limit (`ulimit -n`)"),
            None => "file descriptors".to_owned(),
        },
        Errno::NFILE => "file descriptors of the whole system; raise `fs.file-max`".to_owned(),
        Errno::NOMEM => "memory, address space (`ulimit -v`) or memory maps (`vm.max_map_count`)".to_owned(),
        // Nothing that is prepared for a guest reports this for any other reason.
        Errno::AGAIN => "processes and threads; raise the limit (`ulimit -u`, `pids.max`)".to_owned(),
        Errno::NOSPC | Errno::DQUOT => "disk space".to_owned(),
        _ => return None,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shortage_is_found_wherever_it_is_in_the_chain_of_causes() {
        let full = || io::Error::from_raw_os_error(Errno::MFILE.raw_os_error());
        let plain: wasmtime::Error = full().into();
        let wrapped = plain.context("the granted directory").context("the instance");
        let found = shortage_of(&*wrapped).expect("it is one").0;
        assert!(found.starts_with("file descriptors: ") && found.contains("ulimit -n"), "{found}");

        let raw: wasmtime::Error = Errno::NOMEM.into();
        assert!(shortage_of(&*raw.context("a memory")).is_some_and(|short| short.0.contains("memory maps")));
        for errno in [Errno::NFILE, Errno::AGAIN, Errno::NOSPC, Errno::DQUOT] {
            assert!(shortage_of(&errno).is_some(), "{errno}");
        }
    }

    #[test]
    fn errors_that_another_try_would_meet_again_are_no_shortages() {
        for errno in [Errno::NOENT, Errno::ACCESS, Errno::INVAL, Errno::NOTDIR, Errno::LOOP] {
            assert_eq!(shortage_of(&errno), None);
            assert_eq!(shortage_of(&io::Error::from(errno)), None);
        }
        assert_eq!(shortage_of(&*wasmtime::Error::from(wasmtime::Trap::UnreachableCodeReached)), None);
        assert_eq!(shortage_of(&*wasmtime::Error::msg("Too many open files (os error 24)")), None);
    }
}
