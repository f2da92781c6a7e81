//! Real-time priority: in force where it is permitted, and no reason not to sample where it is not.

use crate::common::faults;
use hwmeter_hw::Result;
use hwmeter_hw::meter::{Meter, MeterOptions, MeterStats};
use hwmeter_hw::sensor::{Reading, Sensor};
use hwmeter_hw::units::Watts;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

/// Notes how the kernel schedules the thread that reads it.
struct Scheduled(Arc<AtomicI32>);

impl Sensor for Scheduled {
    fn read(&mut self) -> Result<Reading> {
        // SAFETY: 0 is the calling thread; numbers only.
        let policy = unsafe { libc::syscall(libc::SYS_sched_getscheduler, 0) };
        self.0.store(policy as i32, Ordering::SeqCst);
        Ok(Reading::of_power(Watts(1.0)))
    }
}

/// What the meter says, and what the kernel says of the sampling thread.
fn sample(realtime: bool) -> (MeterStats, bool) {
    let policy = Arc::new(AtomicI32::new(-1));
    let options = MeterOptions {
        realtime,
        ..MeterOptions::at(200.0)
    };
    let meter = Meter::start(Scheduled(Arc::clone(&policy)), options).unwrap();
    while meter.stats().samples < 5 {
        std::thread::sleep(Duration::from_millis(5));
    }
    let policy = policy.load(Ordering::SeqCst);
    (
        meter.stop(),
        policy == libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK,
    )
}

#[test]
fn the_meter_says_what_the_kernel_does() {
    let (stats, is_fifo) = sample(true);
    assert_eq!(stats.is_realtime, is_fifo);
    let (stats, is_fifo) = sample(false);
    assert_eq!(
        (stats.is_realtime, is_fifo),
        (false, false),
        "nobody asked for it"
    );
}

#[test]
fn without_the_right_to_it_sampling_goes_on() {
    let (stats, is_fifo) = faults::without_rights(|| sample(true));
    assert_eq!((stats.is_realtime, is_fifo), (false, false));
    assert!(stats.samples >= 5);
}
