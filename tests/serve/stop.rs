//! SIGTERM: what runs may finish, what does not is told, and newcomers are sent away.

use super::common::{have, until};
use super::http::{ENDLESS, Served, curl, metric, read_answer, send};
use std::thread;

fn running(base: &str) -> f64 {
    metric(base, &[], "hwmeter_tasks_running")
}

/// Nothing but what it says at every start.
#[track_caller]
fn assert_no_complaint(stderr: &str) {
    let complaint = stderr
        .lines()
        .find(|line| !line.starts_with("hwmeter serve: sandbox: "));
    assert_eq!(complaint, None);
}

#[test]
fn a_running_task_finishes_while_newcomers_are_sent_away() {
    if !have("curl", "curl") {
        return;
    }
    // At this speed the task sleeps most of its time, at least half a second.
    let server = Served::start(&["--speed", "0.02"]);
    let base = server.base.clone();
    let url = format!("{base}/v1/tasks?kernel=sha256&size=100&seed=5");
    let task = thread::spawn(move || curl(&["-X", "POST"], &url));
    until("the task runs", || running(&base) == 1.0);
    server.ask_to_end();
    until("the server says that it stops", || {
        curl(&[], &format!("{base}/healthz")).status == 503
    });
    let refused = curl(&["-X", "POST"], &format!("{base}{ENDLESS}"));
    assert_eq!(refused.error(), (503, "stopping".to_owned()));
    assert!(refused.header("retry-after").is_some(), "{refused:?}");

    assert_eq!(task.join().unwrap().status, 200);
    let (status, stderr) = server.ended();
    assert!(status.success(), "{stderr}");
    assert_no_complaint(&stderr);
}

#[test]
fn connections_that_do_nothing_do_not_hold_up_the_end() {
    let server = Served::start(&[]);
    let _silent = send(server.address(), b"");
    let mut used = send(
        server.address(),
        b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n",
    );
    assert_eq!(read_answer(&mut used).unwrap().status, 200);
    server.ask_to_end();
    let (status, stderr) = server.ended();
    assert!(status.success());
    assert_no_complaint(&stderr);
}

#[test]
fn tasks_that_do_not_end_are_stopped_and_reported() {
    if !have("curl", "curl") {
        return;
    }
    let server = Served::start(&["--workers", "1", "--queue", "1"]);
    let base = server.base.clone();
    let url = format!("{base}{ENDLESS}");
    let post = || {
        let url = url.clone();
        thread::spawn(move || curl(&["-X", "POST"], &url))
    };
    let tasks = [post(), post()];
    until("one runs and one waits", || {
        running(&base) == 1.0 && metric(&base, &[], "hwmeter_tasks_waiting") == 1.0
    });
    server.ask_to_end();
    for task in tasks {
        assert_eq!(task.join().unwrap().error(), (503, "stopping".to_owned()));
    }
    let (status, stderr) = server.ended();
    assert!(status.success(), "{stderr}");
    assert!(
        stderr.contains("stopped 1 running and 1 waiting tasks"),
        "{stderr}"
    );
}
