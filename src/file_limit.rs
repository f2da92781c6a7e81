//! How many files, and so connections, this process may have.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Raises the number of files this process may have as far as it may, and returns it.
pub(crate) fn raise_file_limit() -> u64 {
    match getrlimit(Resource::RLIMIT_NOFILE) {
        Ok((soft, hard)) if soft < hard => match setrlimit(Resource::RLIMIT_NOFILE, hard, hard) {
            Ok(()) => hard,
            Err(_) => soft,
        },
        Ok((soft, _)) => soft,
        // What every Linux allows.
        Err(_) => 1024,
    }
}
