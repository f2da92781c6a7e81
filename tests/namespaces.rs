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
        let cable = ["ip", "link", "add", "a", "type", "veth", "peer", "name", "b"];
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
    for placement in ["local", "mec", "cloud"] {
        assert!(
            successes(dir.path(), placement) > 0,
            "{placement}: none succeeded"
        );
    }
}

/// Tasks that ran there and were right and in time.
fn successes(dir: &Path, placement: &str) -> usize {
    let text = fs::read(dir.join("run/decisions.csv")).unwrap();
    let mut reader = csv::Reader::from_reader(&text[..]);
    let column = |name: &str, headers: &csv::StringRecord| headers.iter().position(|h| h == name).unwrap();
    let headers = reader.headers().unwrap().clone();
    let (at, success) = (column("placement", &headers), column("success", &headers));
    let rows = reader.records().map(Result::unwrap);
    rows.filter(|row| &row[at] == placement && &row[success] == "true")
        .count()
}
