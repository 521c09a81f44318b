//! A filter of system calls for the compiler, which it can't take back.

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
pub(super) use with_seccomp::give_up_calls;

/// There is no filter for this processor.
///
/// # Errors
///
/// None.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
pub(super) fn give_up_calls() -> std::io::Result<()> {
    Ok(())
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod with_seccomp {
    use std::collections::BTreeMap;
    use std::io;

    use seccompiler::{
        BackendError, BpfProgram, Error, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
        SeccompFilter, SeccompRule, apply_filter_all_threads,
    };

    /// The calls that are allowed with any arguments. None makes a descriptor or a thread, or reaches another
    /// process.
    const ALLOWED: [libc::c_long; 24] = [
        // The three standard descriptors: there are no others.
        libc::SYS_read,
        libc::SYS_write,
        libc::SYS_writev,
        // Memory.
        libc::SYS_munmap,
        libc::SYS_mremap,
        libc::SYS_madvise,
        libc::SYS_brk,
        // Threads that wait for each other, and allocators that ask for the number of processors.
        libc::SYS_futex,
        libc::SYS_sched_yield,
        libc::SYS_sched_getaffinity,
        libc::SYS_nanosleep,
        libc::SYS_clock_nanosleep,
        libc::SYS_getpid,
        libc::SYS_gettid,
        libc::SYS_exit,
        // Signals of its own: an abort, a stack that overflows.
        libc::SYS_rt_sigaction,
        libc::SYS_rt_sigprocmask,
        libc::SYS_rt_sigreturn,
        libc::SYS_sigaltstack,
        libc::SYS_restart_syscall,
        // Keys of hash tables. The clock where it can't be read without a call.
        libc::SYS_getrandom,
        libc::SYS_clock_gettime,
        libc::SYS_gettimeofday,
        libc::SYS_exit_group,
    ];

    /// Puts the filter on every thread of this process: from now on all system calls but the few that
    /// compiling takes are errors (`EPERM`), and no thread can be started.
    ///
    /// # Errors
    ///
    /// If the system has no such filters: nothing was given up then.
    pub(in super::super) fn give_up_calls() -> io::Result<()> {
        apply_filter_all_threads(&program()?).map_err(unwrapped)
    }

    /// Makes the filter.
    pub(super) fn program() -> io::Result<BpfProgram> {
        filter().and_then(BpfProgram::try_from).map_err(io::Error::other)
    }

    fn filter() -> Result<SeccompFilter, BackendError> {
        let without_exec = SeccompCondition::new(
            2,
            SeccompCmpArgLen::Dword,
            SeccompCmpOp::MaskedEq(libc::PROT_EXEC as u64),
            0,
        )?;
        let this_process = SeccompCondition::new(
            0,
            SeccompCmpArgLen::Dword,
            SeccompCmpOp::Eq,
            u64::from(std::process::id()),
        )?;
        let mut rules: BTreeMap<_, _> = ALLOWED.into_iter().map(|call| (call, Vec::new())).collect();
        for call in [libc::SYS_mmap, libc::SYS_mprotect] {
            rules.insert(call, vec![SeccompRule::new(vec![without_exec.clone()])?]);
        }
        rules.insert(libc::SYS_tgkill, vec![SeccompRule::new(vec![this_process])?]);
        let refused = SeccompAction::Errno(libc::EPERM as u32);
        SeccompFilter::new(rules, refused, SeccompAction::Allow, std::env::consts::ARCH.try_into()?)
    }

    /// Takes the system's error out of the library's.
    fn unwrapped(error: Error) -> io::Error {
        match error {
            Error::Prctl(error) | Error::Seccomp(error) => io::Error::new(
                error.kind(),
                format!("the system does not filter system calls (seccomp): {error}"),
            ),
            error => io::Error::other(error),
        }
    }
}

#[cfg(all(test, any(target_arch = "x86_64", target_arch = "aarch64")))]
mod tests {
    use std::ffi::{CStr, c_long, c_void};
    use std::process::{Child, Command, Stdio};
    use std::ptr::null_mut;

    use super::*;

    /// Does something on one thread that has the child's filter.
    #[track_caller]
    fn filtered<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
        let program = with_seccomp::program().expect("the filter is valid");
        let thread = std::thread::spawn(move || {
            seccompiler::apply_filter(&program).expect("the system has filters");
            work()
        });
        thread.join().expect("it ends by itself")
    }

    /// A system call and what it is given.
    type Call = (&'static str, c_long, [usize; 6]);

    /// Makes a call. Returns the number of its error, or 0.
    fn answer((_, number, [a, b, c, d, e, f]): &Call) -> i32 {
        // SAFETY: the calls below get pointers to what lives as long as the program,
        // or none.
        match unsafe { libc::syscall(*number, *a, *b, *c, *d, *e, *f) } {
            -1 => std::io::Error::last_os_error().raw_os_error().unwrap_or(-1),
            _ => 0,
        }
    }

    fn text(text: &'static CStr) -> usize {
        text.as_ptr() as usize
    }

    const NULL: usize = 0;
    const NO_DESCRIPTOR: usize = usize::MAX;

    /// Another process of the same user, which ends with this value. The parent may belong to another
    /// user, who refuses signals whatever the filter says.
    struct Other(Child);

    impl Other {
        fn start() -> Self {
            Self(Command::new("cat").stdin(Stdio::piped()).spawn().expect("`cat` starts"))
        }
    }

    impl Drop for Other {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    /// The calls that someone who has taken over the compiler would try. Without the filter each answers
    /// something else than `EPERM`, and does no harm.
    fn attempts(other: &Other) -> Vec<Call> {
        let me = std::process::id() as usize;
        let other = other.0.id() as usize;
        let here = libc::AT_FDCWD as usize;
        let file = text(c"/dev/null");
        let missing = text(c"/there/is/no/such/file");
        let page = 4096;
        let memory = (libc::PROT_READ | libc::PROT_WRITE) as usize;
        let code = memory | libc::PROT_EXEC as usize;
        let anonymous = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS) as usize;
        let none = NULL;
        vec![
            ("openat", libc::SYS_openat, [here, file, 0, 0, 0, 0]),
            ("openat2", libc::SYS_openat2, [here, file, none, 0, 0, 0]),
            ("execve", libc::SYS_execve, [missing, none, none, 0, 0, 0]),
            ("execveat", libc::SYS_execveat, [here, missing, none, none, 0, 0]),
            ("statx", libc::SYS_statx, [here, missing, 0, 0, none, 0]),
            ("readlinkat", libc::SYS_readlinkat, [here, missing, none, 0, 0, 0]),
            ("unlinkat", libc::SYS_unlinkat, [here, missing, 0, 0, 0, 0]),
            ("renameat2", libc::SYS_renameat2, [here, missing, here, missing, 0, 0]),
            ("linkat", libc::SYS_linkat, [here, missing, here, missing, 0, 0]),
            ("symlinkat", libc::SYS_symlinkat, [missing, here, missing, 0, 0, 0]),
            ("mkdirat", libc::SYS_mkdirat, [here, missing, 0, 0, 0, 0]),
            ("fchmodat", libc::SYS_fchmodat, [here, missing, 0, 0, 0, 0]),
            ("chdir", libc::SYS_chdir, [missing, 0, 0, 0, 0, 0]),
            ("socket", libc::SYS_socket, [libc::AF_INET as usize, libc::SOCK_STREAM as usize, 0, 0, 0, 0]),
            ("socket", libc::SYS_socket, [libc::AF_UNIX as usize, libc::SOCK_STREAM as usize, 0, 0, 0, 0]),
            ("socketpair", libc::SYS_socketpair, [libc::AF_UNIX as usize, 0, 0, none, 0, 0]),
            ("connect", libc::SYS_connect, [NO_DESCRIPTOR, none, 0, 0, 0, 0]),
            ("sendto", libc::SYS_sendto, [NO_DESCRIPTOR, none, 0, 0, none, 0]),
            ("sendmsg", libc::SYS_sendmsg, [NO_DESCRIPTOR, none, 0, 0, 0, 0]),
            ("recvmsg", libc::SYS_recvmsg, [NO_DESCRIPTOR, none, 0, 0, 0, 0]),
            ("bind", libc::SYS_bind, [NO_DESCRIPTOR, none, 0, 0, 0, 0]),
            ("dup", libc::SYS_dup, [NO_DESCRIPTOR, 0, 0, 0, 0, 0]),
            ("fcntl", libc::SYS_fcntl, [0, libc::F_GETFD as usize, 0, 0, 0, 0]),
            ("ioctl", libc::SYS_ioctl, [NO_DESCRIPTOR, 0, 0, 0, 0, 0]),
            ("memfd_create", libc::SYS_memfd_create, [NULL, 0, 0, 0, 0, 0]),
            ("ptrace", libc::SYS_ptrace, [libc::PTRACE_PEEKDATA as usize, me, none, none, 0, 0]),
            ("process_vm_readv", libc::SYS_process_vm_readv, [me, none, 0, none, 0, 0]),
            ("process_vm_writev", libc::SYS_process_vm_writev, [me, none, 0, none, 0, 0]),
            ("kill", libc::SYS_kill, [me, 0, 0, 0, 0, 0]),
            ("kill", libc::SYS_kill, [other, 0, 0, 0, 0, 0]),
            ("tgkill", libc::SYS_tgkill, [other, other, 0, 0, 0, 0]),
            ("tkill", libc::SYS_tkill, [other, 0, 0, 0, 0, 0]),
            ("pidfd_open", libc::SYS_pidfd_open, [other, 0, 0, 0, 0, 0]),
            ("prlimit64", libc::SYS_prlimit64, [0, 0, none, none, 0, 0]),
            ("prctl", libc::SYS_prctl, [libc::PR_GET_DUMPABLE as usize, 0, 0, 0, 0, 0]),
            ("getppid", libc::SYS_getppid, [0; 6]),
            ("setpriority", libc::SYS_setpriority, [usize::MAX, 0, 0, 0, 0, 0]),
            // With flags that do not go together: nobody gets a process of it.
            ("clone", libc::SYS_clone, [libc::CLONE_THREAD as usize, none, none, none, none, 0]),
            ("clone3", libc::SYS_clone3, [none, 0, 0, 0, 0, 0]),
            ("unshare", libc::SYS_unshare, [0; 6]),
            ("setns", libc::SYS_setns, [NO_DESCRIPTOR, 0, 0, 0, 0, 0]),
            ("mmap", libc::SYS_mmap, [none, page, code, anonymous, NO_DESCRIPTOR, 0]),
            ("mprotect", libc::SYS_mprotect, [none, 0, code, 0, 0, 0]),
            ("pkey_mprotect", libc::SYS_pkey_mprotect, [none, 0, code, usize::MAX, 0, 0]),
            ("io_uring_setup", libc::SYS_io_uring_setup, [1, none, 0, 0, 0, 0]),
            ("seccomp", libc::SYS_seccomp, [libc::SECCOMP_GET_ACTION_AVAIL as usize, 0, none, 0, 0, 0]),
            ("uname", libc::SYS_uname, [none, 0, 0, 0, 0, 0]),
        ]
    }

    #[test]
    fn everything_that_compiling_does_not_take_is_refused() {
        let other = Other::start();
        let attempts = attempts(&other);
        let calls = attempts.clone();
        let answers = filtered(move || calls.iter().map(answer).collect::<Vec<_>>());
        for (attempt, answer) in attempts.iter().zip(answers) {
            assert_eq!(answer, libc::EPERM, "{attempt:?}");
        }
    }

    /// Or else the test above would say nothing.
    #[test]
    fn the_same_calls_are_answered_without_the_filter() {
        // What a system that is itself confined may refuse to everybody.
        let elsewhere = ["io_uring_setup", "process_vm_readv", "process_vm_writev", "ptrace", "unshare"];
        let other = Other::start();
        for attempt in attempts(&other) {
            if !elsewhere.contains(&attempt.0) {
                assert_ne!(answer(&attempt), libc::EPERM, "{attempt:?}");
            }
        }
    }

    #[test]
    fn what_the_standard_library_offers_is_refused_as_well() {
        use std::io::ErrorKind::PermissionDenied;
        let kinds = filtered(|| {
            [
                std::fs::read("/proc/self/environ").map(drop),
                std::fs::write("/dev/null", "").map(drop),
                std::net::TcpStream::connect("127.0.0.1:1").map(drop),
                std::process::Command::new("/bin/true").spawn().map(drop),
                std::thread::Builder::new().spawn(|| ()).map(drop),
            ]
            .map(|result| result.map_err(|error| error.kind()))
        });
        assert_eq!(kinds, [Err(PermissionDenied); 5]);
    }

    #[test]
    fn compiling_needs_nothing_that_is_refused() {
        // Memory, locks, hash tables and random numbers, standard output, the clock.
        let sum = filtered(|| {
            let large = vec![1u8; 64 << 20];
            let mut many: std::collections::HashMap<_, _> = (0..1000).map(|n| (n, vec![n; 100])).collect();
            many.retain(|n, _| n % 2 == 0);
            let began = std::time::Instant::now();
            let channel = std::sync::mpsc::channel();
            channel.0.send(1).expect("somebody listens");
            let received = channel.1.recv_timeout(std::time::Duration::from_secs(1)).expect("it was sent");
            assert!(began.elapsed() < std::time::Duration::from_secs(60));
            large.iter().step_by(1 << 20).map(|byte| usize::from(*byte)).sum::<usize>()
                + many.len()
                + received
        });
        assert_eq!(sum, 64 + 500 + 1);
    }

    #[test]
    fn memory_that_is_no_code_is_given_and_a_signal_to_oneself_is_sent() {
        let answers = filtered(|| {
            let memory = libc::PROT_READ | libc::PROT_WRITE;
            let anonymous = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
            // SAFETY: a new page that nobody else has.
            let page = unsafe { libc::mmap(null_mut::<c_void>(), 4096, memory, anonymous, -1, 0) };
            assert_ne!(page, libc::MAP_FAILED);
            let pid = std::process::id() as usize;
            // SAFETY: it asks only for a number.
            let tid = unsafe { libc::syscall(libc::SYS_gettid) } as usize;
            [
                ("mprotect", libc::SYS_mprotect, [page as usize, 4096, libc::PROT_READ as usize, 0, 0, 0]),
                ("munmap", libc::SYS_munmap, [page as usize, 4096, 0, 0, 0, 0]),
                ("tgkill", libc::SYS_tgkill, [pid, tid, 0, 0, 0, 0]),
            ]
            .map(|call| answer(&call))
        });
        assert_eq!(answers, [0; 3]);
    }
}
