//! Real-time priority for a sampling thread, where the user may have it.

/// Above all ordinary threads, below the kernel's own (50) and audio servers.
const PRIORITY: libc::c_int = 10;

/// Asks for `SCHED_FIFO` for the calling thread. True if it is in force; a refusal is a warning that says what to do.
pub(crate) fn ask(who: &str) -> bool {
    match set_fifo() {
        Ok(()) => true,
        Err(error) => {
            tracing::warn!(
                "{who}: no real-time priority ({error}); sampling goes on without. {}",
                advice()
            );
            false
        }
    }
}

/// Processes started by this thread do not inherit the priority: a sensor may start a helper.
fn set_fifo() -> std::io::Result<()> {
    // SAFETY: plain numbers (some libcs have reserved ones), for which zero is a value.
    let mut parameters: libc::sched_param = unsafe { std::mem::zeroed() };
    parameters.sched_priority = PRIORITY;
    let policy = libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK;
    // The call itself and not libc's function, which musl refuses.
    // SAFETY: 0 is the calling thread; the kernel copies the parameters, which live through the call.
    let result = unsafe { libc::syscall(libc::SYS_sched_setscheduler, 0, policy, &raw const parameters) };
    if result == 0 {
        Ok(())
    } else {
        Err(std::io::Error::last_os_error())
    }
}

fn advice() -> String {
    let program = std::env::current_exe().unwrap_or_else(|_| "PROGRAM".into());
    format!(
        "To allow it: sudo setcap cap_sys_nice=ep {}, or a line `{} - rtprio {PRIORITY}` in /etc/security/limits.conf and a new login",
        program.display(),
        std::env::var("USER").unwrap_or_else(|_| "USER".to_owned()),
    )
}
