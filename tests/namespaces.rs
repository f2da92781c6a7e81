//! A device, an edge server and a cloud with addresses of their own, in network namespaces.
#![allow(clippy::unwrap_used)]

mod common;

use common::have;
use std::fs;
use std::path::Path;
use std::process::Command;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/namespaces/run.sh");

/// The way in which this machine lets us have namespaces: as any user, or else as root.
fn unshare() -> Option<Vec<&'static str>> {
    let ways = [vec!["--user", "--map-root-user", "--net"], vec!["--net"]];
    ways.into_iter().find(|way| {
        let cable = ["ip", "link", "add", "near", "type", "veth", "peer", "name", "far"];
        let tried = Command::new("unshare").args(way).args(cable).output();
        tried.is_ok_and(|output| output.status.success())
    })
}

#[test]
fn an_agent_uses_servers_on_other_machines() {
    let tools = [
        ("unshare", "util-linux"),
        ("ip", "iproute2"),
        ("openssl", "openssl"),
    ];
    if !tools.iter().all(|(tool, package)| have(tool, package)) {
        return;
    }
    let Some(way) = unshare() else {
        eprintln!(
            "skipped: this machine lets neither this user nor root make network namespaces and veth pairs"
        );
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let output = Command::new("unshare")
        .args(way)
        .args(["--kill-child", "sh", SCRIPT, env!("CARGO_BIN_EXE_hwmeter")])
        .arg(dir.path())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let stranger = fs::read_to_string(dir.path().join("stranger.json")).unwrap();
    assert!(stranger.contains("unauthorized"), "{stranger}");
    for role in ["mec", "cloud"] {
        let successes = successes(&dir.path().join(format!("{role}.run/decisions.csv")), role);
        assert!(successes > 0, "{role}: no task was right and in time");
        let metrics = fs::read_to_string(dir.path().join(format!("{role}.metrics"))).unwrap();
        let done = metrics
            .lines()
            .find_map(|line| line.strip_prefix("hwmeter_tasks_total{outcome=\"done\"} "));
        assert!(
            done.unwrap().parse::<usize>().unwrap() >= successes,
            "{role}: {metrics}"
        );
    }
}

/// Tasks that ran there and were right and in time; all must have run there.
fn successes(decisions: &Path, role: &str) -> usize {
    let text = fs::read(decisions).unwrap();
    let mut reader = csv::Reader::from_reader(&text[..]);
    let headers = reader.headers().unwrap().clone();
    let column = |name: &str| headers.iter().position(|header| header == name).unwrap();
    let (placement, success) = (column("placement"), column("success"));
    let rows: Vec<_> = reader.records().map(Result::unwrap).collect();
    assert_eq!(rows.len(), 6);
    assert!(rows.iter().all(|row| &row[placement] == role), "{rows:?}");
    rows.iter().filter(|row| &row[success] == "true").count()
}
