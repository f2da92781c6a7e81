//! The seccomp filter: a list of what a server needs, by name; everything else fails with `EPERM`.
//!
//! The list holds for both architectures, except where x86-64 keeps an old call beside the one that all have.

use super::Rights;
use libc::c_long;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch,
};
use std::collections::BTreeMap;
use std::env::consts::ARCH;

/// For each system call the rules of which one must match; none means always allowed.
type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// Holds for all threads of this process.
pub(super) fn filter(rights: &Rights) -> Result<(), String> {
    // The newest filter decides which error a refused call gets, and the second refuses to install a third.
    for program in [without_clone3(), allowed_only(rights)] {
        let program = program.map_err(|e| format!("the filter is not valid: {e}"))?;
        seccompiler::apply_filter_all_threads(&program).map_err(|e| format!("the kernel refused: {e}"))?;
    }
    Ok(())
}

/// `clone3` hides its flags behind a pointer, where no filter can see that it makes a thread and no process. Told
/// that the kernel has no such call, C libraries use `clone`.
fn without_clone3() -> Result<BpfProgram, seccompiler::BackendError> {
    let rules = Rules::from([(libc::SYS_clone3, Vec::new())]);
    compile(
        rules,
        SeccompAction::Allow,
        SeccompAction::Errno(libc::ENOSYS as u32),
    )
}

fn allowed_only(rights: &Rights) -> Result<BpfProgram, seccompiler::BackendError> {
    let mut rules: Rules = ALWAYS.iter().chain(OLD).map(|&call| (call, Vec::new())).collect();
    rules.extend(within_limits()?);
    if !rights.writable.is_empty() {
        // Where, is Landlock's.
        rules.extend(WRITERS.iter().chain(OLD_WRITERS).map(|&call| (call, Vec::new())));
    }
    if !rights.connect.is_empty() {
        rules.extend(connecting(rights.names)?);
    }
    compile(
        rules,
        SeccompAction::Errno(libc::EPERM as u32),
        SeccompAction::Allow,
    )
}

fn compile(
    rules: Rules,
    otherwise: SeccompAction,
    listed: SeccompAction,
) -> Result<BpfProgram, seccompiler::BackendError> {
    SeccompFilter::new(rules, otherwise, listed, TargetArch::try_from(ARCH)?)?.try_into()
}

/// Calls that do no harm whatever their arguments.
const ALWAYS: &[c_long] = &[
    // Sockets that are open already, and clients that come.
    libc::SYS_accept4,
    libc::SYS_getpeername,
    libc::SYS_getsockname,
    libc::SYS_getsockopt,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_sendmsg,
    libc::SYS_sendto,
    libc::SYS_setsockopt,
    libc::SYS_shutdown,
    // Waiting.
    libc::SYS_clock_getres,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_eventfd2,
    libc::SYS_futex,
    libc::SYS_gettimeofday,
    libc::SYS_nanosleep,
    libc::SYS_pipe2,
    libc::SYS_ppoll,
    libc::SYS_restart_syscall,
    // Files that are open already, or that Landlock lets be read.
    libc::SYS_close,
    libc::SYS_dup,
    libc::SYS_fcntl,
    libc::SYS_fstat,
    libc::SYS_getdents64,
    libc::SYS_lseek,
    libc::SYS_newfstatat,
    libc::SYS_pread64,
    libc::SYS_read,
    libc::SYS_readlinkat,
    libc::SYS_readv,
    libc::SYS_statx,
    libc::SYS_write,
    libc::SYS_writev,
    // Memory; the image of a WebAssembly module's memory is a file that exists in memory only.
    libc::SYS_brk,
    libc::SYS_ftruncate,
    libc::SYS_madvise,
    libc::SYS_membarrier,
    libc::SYS_memfd_create,
    libc::SYS_mremap,
    libc::SYS_munmap,
    libc::SYS_pwrite64,
    // Threads, and signals within this process; `clone3` is refused by the other filter, with another error.
    libc::SYS_clone3,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_get_robust_list,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_rseq,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_yield,
    libc::SYS_set_robust_list,
    libc::SYS_sigaltstack,
    // Figures.
    libc::SYS_getcpu,
    libc::SYS_getegid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getppid,
    libc::SYS_getrandom,
    libc::SYS_getrusage,
    libc::SYS_getuid,
    libc::SYS_sysinfo,
    libc::SYS_uname,
];

/// What C libraries still call on x86-64; newer architectures never had them.
#[cfg(target_arch = "x86_64")]
const OLD: &[c_long] = &[libc::SYS_epoll_wait, libc::SYS_poll, libc::SYS_time];
#[cfg(not(target_arch = "x86_64"))]
const OLD: &[c_long] = &[];

/// What it takes to write files besides.
const WRITERS: &[c_long] = &[
    libc::SYS_copy_file_range,
    libc::SYS_faccessat,
    libc::SYS_fallocate,
    libc::SYS_fchmod,
    libc::SYS_fdatasync,
    libc::SYS_flock,
    libc::SYS_fstatfs,
    libc::SYS_fsync,
    libc::SYS_linkat,
    libc::SYS_mkdirat,
    libc::SYS_openat,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_unlinkat,
];
#[cfg(target_arch = "x86_64")]
const OLD_WRITERS: &[c_long] = &[
    libc::SYS_access,
    libc::SYS_link,
    libc::SYS_mkdir,
    libc::SYS_readlink,
    libc::SYS_rename,
    libc::SYS_rmdir,
    libc::SYS_unlink,
];
#[cfg(not(target_arch = "x86_64"))]
const OLD_WRITERS: &[c_long] = &[];

/// What it takes to open a TCP connection, to ports that are Landlock's, and to ask for a name by UDP.
fn connecting(names: bool) -> Result<Rules, seccompiler::BackendError> {
    // Flags such as SOCK_CLOEXEC share the argument with the type.
    let kind = |wanted: libc::c_int| masked(1, 0xF, wanted as u64);
    let mut sockets = vec![kind(libc::SOCK_STREAM)?];
    if names {
        sockets.push(kind(libc::SOCK_DGRAM)?);
    }
    let mut rules = Rules::from([(libc::SYS_socket, sockets), (libc::SYS_connect, Vec::new())]);
    if names {
        // Both questions, for IPv4 and IPv6, at once.
        rules.insert(libc::SYS_sendmmsg, Vec::new());
    }
    Ok(rules)
}

/// What `ioctl` may ask for: whether a descriptor blocks, and whether it is a terminal.
#[allow(clippy::unnecessary_cast)] // Not every C library has them as this type.
const REQUESTS: [u64; 3] = [libc::FIONBIO as u64, libc::TCGETS as u64, libc::TIOCGWINSZ as u64];

/// Calls that do harm with some arguments.
fn within_limits() -> Result<Rules, seccompiler::BackendError> {
    let own_pid = u64::from(std::process::id());
    let thread = (libc::CLONE_THREAD | libc::CLONE_VM) as u64;
    let namespaces = (libc::CLONE_NEWNS
        | libc::CLONE_NEWCGROUP
        | libc::CLONE_NEWUTS
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWUSER
        | libc::CLONE_NEWPID
        | libc::CLONE_NEWNET) as u64;
    let writing = (libc::O_ACCMODE | libc::O_CREAT | libc::O_TRUNC) as u64;
    Ok(Rules::from([
        // To read.
        (libc::SYS_openat, vec![masked(2, writing, libc::O_RDONLY as u64)?]),
        // Code is made for WebAssembly, but memory is never writable and executable at once.
        (libc::SYS_mmap, write_or_execute()?),
        (libc::SYS_mprotect, write_or_execute()?),
        // A thread, no process, and nothing in a namespace of its own.
        (libc::SYS_clone, vec![masked(0, thread | namespaces, thread)?]),
        // A pair of its own; no socket that leads anywhere.
        (libc::SYS_socketpair, vec![is(0, libc::AF_UNIX as u64)?]),
        // To itself.
        (libc::SYS_kill, vec![is(0, own_pid)?]),
        (libc::SYS_tgkill, vec![is(0, own_pid)?]),
        // The thread's and the memory's name.
        (
            libc::SYS_prctl,
            vec![is(0, libc::PR_SET_NAME as u64)?, is(0, libc::PR_SET_VMA as u64)?],
        ),
        // To ask for limits, not to set them.
        (libc::SYS_prlimit64, vec![is_null(2)?]),
        (
            libc::SYS_ioctl,
            REQUESTS
                .into_iter()
                .map(|request| is(1, request))
                .collect::<Result<_, _>>()?,
        ),
    ]))
}

fn write_or_execute() -> Result<Vec<SeccompRule>, seccompiler::BackendError> {
    Ok(vec![
        masked(2, libc::PROT_WRITE as u64, 0)?,
        masked(2, libc::PROT_EXEC as u64, 0)?,
    ])
}

/// The argument, a number of 32 bits, has this value.
fn is(argument: u8, value: u64) -> Result<SeccompRule, seccompiler::BackendError> {
    rule(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value)
}

/// The argument, a pointer, is null.
fn is_null(argument: u8) -> Result<SeccompRule, seccompiler::BackendError> {
    rule(argument, SeccompCmpArgLen::Qword, SeccompCmpOp::Eq, 0)
}

/// Of the argument, the bits in `mask` have this value.
fn masked(argument: u8, mask: u64, value: u64) -> Result<SeccompRule, seccompiler::BackendError> {
    rule(
        argument,
        SeccompCmpArgLen::Dword,
        SeccompCmpOp::MaskedEq(mask),
        value,
    )
}

fn rule(
    argument: u8,
    length: SeccompCmpArgLen,
    operator: SeccompCmpOp,
    value: u64,
) -> Result<SeccompRule, seccompiler::BackendError> {
    SeccompRule::new(vec![SeccompCondition::new(argument, length, operator, value)?])
}
