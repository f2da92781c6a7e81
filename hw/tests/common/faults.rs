//! Faults that the kernel itself makes, so that the shipped code meets them where it would on a board.

use hwmeter_hw::Root;
use std::path::Path;

/// Runs `f` as a user without rights, on a thread of its own: credentials of a thread are its own in the kernel,
/// whatever libc makes of them. A test that is not run by root has no rights to begin with.
pub fn without_rights<T: Send>(f: impl FnOnce() -> T + Send) -> T {
    let nobody = 65534;
    on_a_thread(move || {
        // SAFETY: geteuid and the raw setresuid take and give numbers only; only this thread is changed.
        let result = unsafe {
            if libc::geteuid() == 0 {
                libc::syscall(libc::SYS_setresuid, nobody, nobody, nobody)
            } else {
                0
            }
        };
        assert_eq!(result, 0, "giving up rights");
        f()
    })
}

/// Runs `f` on a thread of its own on which reads of the open file `path` fail with `errno`, until the thread ends.
/// The kernel refuses them (a seccomp filter on the descriptor), so nothing in the program knows of it.
pub fn failing_reads<T: Send>(path: &Path, errno: i32, f: impl FnOnce() -> T + Send) -> T {
    let fd = descriptor_of(&path.canonicalize().unwrap());
    failing_calls(libc::SYS_pread64, Some(fd), errno, f)
}

/// The same for another system call whose first argument is a descriptor; `None` is every descriptor.
pub fn failing_calls<T: Send>(
    call: libc::c_long,
    fd: Option<u32>,
    errno: i32,
    f: impl FnOnce() -> T + Send,
) -> T {
    on_a_thread(move || {
        refuse(call, fd, errno);
        f()
    })
}

fn on_a_thread<T: Send>(f: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        scope
            .spawn(f)
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// The descriptor under which this process holds `target` open: a path, or what `/proc/self/fd` calls a thing that
/// has none.
pub fn descriptor_of(target: &Path) -> u32 {
    let open = Root::default().list("/proc/self/fd").unwrap();
    let is_it =
        |fd: &&String| std::fs::read_link(format!("/proc/self/fd/{fd}")).is_ok_and(|found| found == target);
    open.iter()
        .find(is_it)
        .expect("the file is open")
        .parse()
        .unwrap()
}

fn refuse(call: libc::c_long, fd: Option<u32>, errno: i32) {
    let step = |code: u32, k: u32, jt: u8, jf: u8| libc::sock_filter {
        code: code as u16,
        jt,
        jf,
        k,
    };
    let load = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
    let equal = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    let give = libc::BPF_RET | libc::BPF_K;
    // In `struct seccomp_data` the number stands at 0 and the low half of the first argument at 16.
    let first_argument = if cfg!(target_endian = "little") { 16 } else { 20 };
    let mut steps = [
        step(load, 0, 0, 0),
        step(equal, call as u32, 0, 3),
        step(load, first_argument, 0, 0),
        // Jumps by 0 either way where any descriptor will do.
        step(equal, fd.unwrap_or(0), 0, u8::from(fd.is_some())),
        step(give, libc::SECCOMP_RET_ERRNO | errno as u32, 0, 0),
        step(give, libc::SECCOMP_RET_ALLOW, 0, 0),
    ];
    let program = libc::sock_fprog {
        len: steps.len() as u16,
        filter: steps.as_mut_ptr(),
    };
    // SAFETY: prctl copies the program, which lives through the call; only this thread is filtered.
    unsafe {
        assert_eq!(
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0),
            0,
            "no_new_privs"
        );
        let mode = libc::SECCOMP_MODE_FILTER as libc::c_ulong;
        assert_eq!(
            libc::prctl(libc::PR_SET_SECCOMP, mode, &raw const program),
            0,
            "seccomp filter"
        );
    }
}
