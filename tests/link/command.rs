//! What the command line may say about a link, and the links of `run-agent`.

use crate::common::child::started;
use crate::{link, text};
use hwmeter::offload::link::presets::{Network, Preset};
use hwmeter::offload::local_servers::LocalConfig;
use hwmeter::offload::{Client, LocalServers, Url};
use serde_json::Value;
use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

#[test]
fn a_preset_is_shown_as_a_profile_that_can_be_used() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["5g-sa", "5g-congested", "lte", "wifi", "wan-cloud", "ideal"] {
        let output = link(&["--preset", name, "--show"]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let file = dir.path().join(format!("{name}.toml"));
        std::fs::write(&file, &output.stdout).unwrap();
        let file = file.to_str().unwrap();
        let mut command = link(&["--to", "127.0.0.1:9", "--profile", file]);
        let mut child = started(command.stdout(Stdio::piped()));
        let line = BufReader::new(child.stdout.take().unwrap())
            .lines()
            .next()
            .unwrap()
            .unwrap();
        assert!(line.starts_with("hwmeter link: listening on "), "{line}");
    }
}

/// Of a profile's two ways only one leaves the interface.
#[test]
fn netem_says_that_it_does_not_use_the_way_down() {
    let says = |preset: &str| {
        let output = link(&["--preset", preset, "--netem", "nosuchif0"])
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        text(&output.stderr).contains("[down], is not used")
    };
    assert!(says("lte"));
    assert!(!says("wan-cloud"), "both its ways are the same");
}

#[test]
fn what_cannot_be_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let bad = dir.path().join("bad.toml");
    std::fs::write(&bad, "[both]\nlatency_ms = 5\n").unwrap();
    let bad = bad.to_str().unwrap();
    let to = ["--to", "127.0.0.1:9"];
    let cases: [(&[&str], i32, &[&str]); 14] = [
        (&[], 2, &["--to"]),
        (&["--preset", "6g"], 2, &["5g-sa", "ideal"]),
        (&["--show"], 2, &["--preset"]),
        (&["--profile", bad], 1, &["bad.toml", "latency_ms", "line 2"]),
        (
            &["--profile", "/nowhere.toml"],
            1,
            &["/nowhere.toml", "No such file"],
        ),
        (
            &["--profile", bad, "--preset", "lte"],
            2,
            &["cannot be used with"],
        ),
        (&["--loss", "60%"], 1, &["loss is 0.6", "0.5"]),
        (&["--jitter", "5ms"], 1, &["jitter_s is 0.005", "below zero"]),
        (&["--up", "speed=3"], 2, &["speed", "latency, jitter"]),
        (&["--outage", "10s"], 2, &["10s+2s"]),
        (&["--outage", "5s+2s", "--outage", "6s+2s"], 1, &["overlap"]),
        (&["--outage", "5s+2s", "--repeat", "6s"], 1, &["repeat_s is 6"]),
        (&["--outage-resets"], 2, &["--outage"]),
        (
            &["--corrupt", "1%"],
            2,
            &["--corrupt", "cannot be used with", "--to"],
        ),
    ];
    for (arguments, code, expected) in cases {
        let needs_to = !arguments.is_empty() && arguments != ["--show"];
        let output = link(arguments)
            .args(needs_to.then_some(to).into_iter().flatten())
            .output()
            .unwrap();
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {stderr}");
        for word in expected {
            assert!(stderr.contains(word), "{arguments:?} says no {word:?}: {stderr}");
        }
    }
}

#[test]
fn servers_on_this_machine_are_reached_over_the_links_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("slow.toml");
    std::fs::write(&file, "up.latency_s = 0.15\n").unwrap();
    let mut config = LocalConfig::with_program(env!("CARGO_BIN_EXE_hwmeter"));
    config.mec.network = Some(Network::File(file));
    config.cloud.network = Some(Network::Preset(Preset::Ideal));
    let servers = LocalServers::start(&config).unwrap();
    let best = |url: &Url| {
        let mut client = Client::new(url.clone()).unwrap();
        let trip = || {
            let began = Instant::now();
            client.health(Duration::from_secs(10)).unwrap();
            began.elapsed()
        };
        std::iter::repeat_with(trip).take(6).min().unwrap()
    };
    let (mec, cloud) = (best(servers.mec()), best(servers.cloud()));
    assert!(
        mec >= Duration::from_millis(150) && cloud < Duration::from_millis(100),
        "{mec:?} {cloud:?}"
    );
}

/// An experiment's links are those asked for: felt in what tasks take, and told in `run.json`.
#[test]
fn an_agent_works_over_the_links_it_is_given() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("slow.toml");
    std::fs::write(
        &file,
        "both.latency_s = 0.04\n[[at]]\nt_s = 3600\nboth.loss = 0.1\n",
    )
    .unwrap();
    let out = dir.path().join("run");
    let output = Command::new(env!("CARGO_BIN_EXE_hwmeter"))
        .args([
            "run-agent",
            "--sensor",
            "cpu-model",
            "--learner",
            "mec",
            "--tasks",
            "5",
            "--seed",
            "9",
        ])
        .args([
            "--mec-link",
            file.to_str().unwrap(),
            "--cloud-link",
            "lte",
            "--out",
            out.to_str().unwrap(),
        ])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let manifest: Value = serde_json::from_slice(&std::fs::read(out.join("run.json")).unwrap()).unwrap();
    let servers = &manifest["servers"];
    assert_eq!(servers["mec"]["link"]["changes"][0]["up"]["latency_s"], 0.04);
    assert_eq!(servers["mec"]["link"]["changes"][1]["t_s"], 3600.0);
    assert_eq!(servers["mec"]["link_seed"], 9);
    assert_eq!(servers["cloud"]["network"], "lte");
    assert_eq!(servers["cloud"]["link"]["changes"][0]["down"]["rate_bps"], 40e6);
    let rows: Vec<HashMap<String, String>> = csv::Reader::from_path(out.join("decisions.csv"))
        .unwrap()
        .deserialize()
        .map(Result::unwrap)
        .collect();
    let transmits = rows
        .iter()
        .filter_map(|row| row["transmit_s"].parse::<f64>().ok());
    let transmits: Vec<f64> = transmits.collect();
    // A busy machine may miss every deadline, and then there is none.
    assert!(transmits.iter().all(|s| *s >= 0.08), "{transmits:?}");

    let output = Command::new(env!("CARGO_BIN_EXE_hwmeter"))
        .args(["run-agent", "--mec-link", "6g"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("5g-congested"), "{output:?}");
}
