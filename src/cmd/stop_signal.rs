//! SIGTERM and Ctrl-C, as something to wait for.

use anyhow::Context;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::future::Future;
use tokio::sync::oneshot;

/// From now on the first SIGTERM or SIGINT completes the future, and the second ends the process at once.
pub fn catch() -> anyhow::Result<impl Future<Output = ()>> {
    let mut signals = Signals::new([SIGTERM, SIGINT]).context("cannot watch for SIGTERM and SIGINT")?;
    let (sender, receiver) = oneshot::channel();
    std::thread::Builder::new()
        .name("hwmeter-signals".to_owned())
        .spawn(move || {
            let mut arrived = signals.forever();
            arrived.next();
            // Nobody waits any more when the server has ended by itself.
            let _ = sender.send(());
            if let Some(second) = arrived.next() {
                let _ = signal_hook::low_level::emulate_default_handler(second);
            }
        })
        .context("cannot start the thread that watches for signals")?;
    Ok(async {
        if receiver.await.is_err() {
            // No signal can come any more: wait for ever.
            std::future::pending::<()>().await;
        }
    })
}
