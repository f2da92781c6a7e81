//! The executor's limits, each with a job that hits it.
#![allow(clippy::unwrap_used)]

use super::*;

fn executor(workers: usize, queue: usize) -> Executor {
    let limits = Limits {
        wall: Duration::from_millis(300),
        ..Limits::default()
    };
    Executor::new(NonZeroUsize::new(workers).unwrap(), queue, limits)
}

/// A job that never ends by itself.
fn endless(stop: &dyn Fn() -> bool) -> Option<u64> {
    while !stop() {
        std::thread::sleep(Duration::from_millis(1));
    }
    None
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    for _ in 0..2000 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("not within 2 s: {what}");
}

#[tokio::test]
async fn a_job_gives_its_value_and_times() {
    let ticket = executor(1, 0).admit().unwrap();
    let job = |_: &dyn Fn() -> bool| {
        std::thread::sleep(Duration::from_millis(20));
        Some(7)
    };
    let done = ticket.run(Length::Any, None, job).await.unwrap();
    assert_eq!(done.value, 7);
    assert!(done.ran >= Duration::from_millis(20));
}

#[tokio::test]
async fn there_are_only_so_many_places() {
    let executor = executor(1, 1);
    let running = tokio::spawn(executor.admit().unwrap().run(Length::Any, None, endless));
    until("one runs", || executor.counts().running == 1).await;
    let waiting = tokio::spawn(executor.admit().unwrap().run(Length::Any, None, |_| Some(1)));
    until("one waits", || executor.counts().waiting == 1).await;
    assert_eq!(executor.admit().err(), Some(Refused::QueueFull));

    running.abort();
    let done = waiting.await.unwrap().unwrap();
    assert!(done.queued > Duration::ZERO);
    until("all gone", || {
        executor.counts()
            == Counts {
                waiting: 0,
                running: 0,
                workers: 1,
            }
    })
    .await;
    assert!(executor.admit().is_ok());
}

#[tokio::test]
async fn every_limit_stops_a_job_and_says_which() {
    let executor = executor(1, 1);
    let soon = || Some(Instant::now() + Duration::from_millis(30));
    for length in [Length::Brief, Length::Any] {
        let outcome = executor.admit().unwrap().run(length, soon(), endless).await;
        assert_eq!(outcome.unwrap_err(), Unfinished::DeadlineRunning);
        until("the place is free", || executor.admit().is_ok()).await;
    }

    let outcome = executor
        .admit()
        .unwrap()
        .run(Length::Any, Some(Instant::now()), |_| Some(1))
        .await;
    assert_eq!(outcome.unwrap_err(), Unfinished::DeadlineWaiting);

    let long = tokio::spawn(executor.admit().unwrap().run(Length::Any, None, endless));
    until("it runs", || executor.counts().running == 1).await;
    let outcome = executor
        .admit()
        .unwrap()
        .run(Length::Any, soon(), |_| Some(1))
        .await;
    assert_eq!(outcome.unwrap_err(), Unfinished::DeadlineWaiting);
    assert_eq!(long.await.unwrap().unwrap_err(), Unfinished::WallLimit);

    let crash =
        |_: &dyn Fn() -> bool| -> Option<u64> { panic!("a kernel with a bug (this is part of a test)") };
    // To print where it crashed can take longer than this executor's jobs may.
    let patient = Executor::new(NonZeroUsize::MIN, 0, Limits::default());
    for length in [Length::Brief, Length::Any] {
        let outcome = patient.admit().unwrap().run(length, None, crash).await;
        assert_eq!(outcome.unwrap_err(), Unfinished::Crashed);
        until("the place is free", || patient.admit().is_ok()).await;
    }

    let ended = tokio::spawn(executor.admit().unwrap().run(Length::Any, None, endless));
    until("it runs", || executor.counts().running == 1).await;
    executor.stop_all();
    assert_eq!(ended.await.unwrap().unwrap_err(), Unfinished::Ending);
}

#[tokio::test]
async fn cpu_time_is_limited_and_sleep_is_none() {
    let limits = Limits {
        cpu: Duration::from_millis(30),
        ..Limits::default()
    };
    let executor = Executor::new(NonZeroUsize::MIN, 0, limits);
    let sleepy = |stop: &dyn Fn() -> bool| {
        std::thread::sleep(Duration::from_millis(60));
        (!stop()).then_some(1)
    };
    assert_eq!(
        executor
            .admit()
            .unwrap()
            .run(Length::Any, None, sleepy)
            .await
            .unwrap()
            .value,
        1
    );
    let spinning = |stop: &dyn Fn() -> bool| -> Option<u64> {
        while !stop() {}
        None
    };
    until("the place is free", || executor.admit().is_ok()).await;
    let outcome = executor.admit().unwrap().run(Length::Any, None, spinning).await;
    assert_eq!(outcome.unwrap_err(), Unfinished::CpuLimit);
}

#[tokio::test]
async fn a_closed_executor_finishes_what_it_has() {
    let executor = executor(1, 1);
    let waiting = executor.admit().unwrap();
    executor.close();
    assert_eq!(executor.admit().err(), Some(Refused::Stopping));
    assert_eq!(
        waiting.run(Length::Any, None, |_| Some(1)).await.unwrap().value,
        1
    );
}

#[tokio::test]
async fn the_end_reaches_those_that_wait() {
    let executor = executor(1, 1);
    let running = tokio::spawn(executor.admit().unwrap().run(Length::Any, None, endless));
    until("one runs", || executor.counts().running == 1).await;
    let waiting = tokio::spawn(executor.admit().unwrap().run(Length::Any, None, |_| Some(1)));
    until("one waits", || executor.counts().waiting == 1).await;
    executor.stop_all();
    assert_eq!(waiting.await.unwrap().unwrap_err(), Unfinished::Ending);
    assert_eq!(running.await.unwrap().unwrap_err(), Unfinished::Ending);
}

/// A compilation cannot be interrupted, and its client shall not have to wait for it.
#[tokio::test]
async fn who_waits_for_a_job_that_does_not_stop_is_told_in_time() {
    let executor = executor(1, 1);
    let deaf = |_: &dyn Fn() -> bool| {
        std::thread::sleep(Duration::from_millis(900));
        Some(1)
    };
    let began = Instant::now();
    let outcome = executor.admit().unwrap().run(Length::Any, None, deaf).await;
    assert_eq!(outcome.unwrap_err(), Unfinished::WallLimit);
    let took = began.elapsed();
    assert!(took < Duration::from_millis(800), "{took:?}");
    assert_eq!(executor.counts().running, 1, "it still has its worker");

    let soon = Some(Instant::now() + Duration::from_millis(30));
    let outcome = executor.admit().unwrap().run(Length::Any, soon, deaf).await;
    assert_eq!(outcome.unwrap_err(), Unfinished::DeadlineWaiting);
    until("it has ended", || executor.counts().running == 0).await;
    let soon = Some(Instant::now() + Duration::from_millis(30));
    let outcome = executor.admit().unwrap().run(Length::Any, soon, deaf).await;
    assert_eq!(outcome.unwrap_err(), Unfinished::DeadlineRunning);
}
