//! `hwmeter link` as a user runs it: what the command line may say, and the kernel's netem driven by a `tc` that keeps
//! a record (the real one is in tests/kernel/).
#![allow(clippy::unwrap_used)]

#[path = "../hw/tests/common/program.rs"]
mod program;

use hwmeter::offload::link::presets::{Network, Preset};
use hwmeter::offload::local_servers::LocalConfig;
use hwmeter::offload::{Client, LocalServers, Url};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use program::script;
use serde_json::Value;
use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

fn link(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hwmeter"));
    command.arg("link").args(arguments).stdin(Stdio::null());
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_preset_is_shown_as_a_profile_that_can_be_used() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["5g-sa", "5g-congested", "lte", "wifi", "wan-cloud", "ideal"] {
        let output = link(&["--preset", name, "--show"]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let file = dir.path().join(format!("{name}.toml"));
        std::fs::write(&file, &output.stdout).unwrap();
        let file = file.to_str().unwrap();
        let mut child = link(&["--to", "127.0.0.1:9", "--profile", file])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let line = BufReader::new(child.stdout.take().unwrap())
            .lines()
            .next()
            .unwrap()
            .unwrap();
        assert!(line.starts_with("hwmeter link: listening on "), "{line}");
        child.kill().unwrap();
        child.wait().unwrap();
    }
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

/// A machine with a `tc` of ours.
struct Machine {
    dir: tempfile::TempDir,
}

const DEFAULT: &str =
    r#"[{"kind":"fq_codel","handle":"0:","root":true,"refcnt":2,"options":{"limit":10240}}]"#;

impl Machine {
    /// `add` is what `tc qdisc add` does beyond noting itself.
    fn new(queues: &str, add: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().display();
        std::fs::write(dir.path().join("queues"), queues).unwrap();
        let ours = r#"[{"kind":"netem","handle":"6877:","root":true}]"#;
        let body = format!(
            "echo \"$*\" >>{at}/calls
            case \"$*\" in
            '-json qdisc show dev gone0') echo 'Cannot find device \"gone0\"' >&2; exit 1 ;;
            *show*) if [ -e {at}/ours ]; then echo '{ours}'; else cat {at}/queues; fi ;;
            *add*) {add}
                touch {at}/ours ;;
            *del*) rm {at}/ours ;;
            esac"
        );
        script(&dir.path().join("tc"), &body);
        let proc_net = dir.path().join("root/proc/net");
        std::fs::create_dir_all(&proc_net).unwrap();
        let routes = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\nwlan0\t00000000\t0101A8C0\t0003\t0\t0\t600\t00000000\n";
        std::fs::write(proc_net.join("route"), routes).unwrap();
        Self { dir }
    }

    fn link(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hwmeter"));
        let path = std::env::var("PATH").unwrap();
        command
            .env("PATH", format!("{}:{path}", self.dir.path().display()))
            .arg("--root")
            .arg(self.dir.path().join("root"))
            .args(["link", "--netem"])
            .args(arguments)
            .stdin(Stdio::null());
        command
    }

    fn fails(&self, arguments: &[&str]) -> String {
        let Output { status, stderr, .. } = self.link(arguments).output().unwrap();
        assert_eq!(status.code(), Some(1), "{arguments:?}: {}", text(&stderr));
        text(&stderr)
    }

    /// Started, and ready.
    fn start(&self, arguments: &[&str]) -> Child {
        let mut command = self.link(arguments);
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let line = BufReader::new(child.stdout.as_mut().unwrap()).lines().next();
        assert!(line.unwrap().unwrap().contains("netem on what leaves"));
        child
    }

    fn calls(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.dir.path().join("calls")).unwrap_or_default();
        text.lines()
            .map(str::to_owned)
            .filter(|call| !call.starts_with("-V"))
            .collect()
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

#[test]
fn netem_is_set_up_and_taken_away_at_every_signal() {
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        let machine = Machine::new(DEFAULT, "");
        let child = machine.start(&[
            "eth0",
            "--latency",
            "20ms",
            "--jitter",
            "2ms",
            "--corrupt",
            "0.1%",
        ]);
        assert!(machine.file("ours").exists());
        kill(Pid::from_raw(child.id() as i32), signal).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{output:?}");
        assert!(
            text(&output.stderr).contains("tc qdisc del dev eth0 root"),
            "{output:?}"
        );
        let show = "-json qdisc show dev eth0";
        let add = "qdisc add dev eth0 root handle 6877: netem limit 100000 delay 20000.000us 2000.000us \
                   distribution normal corrupt 0.100000%";
        assert_eq!(
            machine.calls(),
            [show, add, show, "qdisc del dev eth0 root", show]
        );
    }
}

#[test]
fn a_second_signal_does_not_leave_it_behind() {
    let machine = Machine::new(DEFAULT, "");
    let child = machine.start(&["eth0", "--loss", "1%"]);
    for _ in 0..20 {
        let _ = kill(Pid::from_raw(child.id() as i32), Signal::SIGINT);
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(child.wait_with_output().unwrap().status.success());
    assert!(!machine.file("ours").exists());
}

#[test]
fn a_queue_that_somebody_has_set_up_is_left_alone() {
    let theirs = r#"[{"kind":"htb","handle":"1:","root":true,"options":{}}]"#;
    let machine = Machine::new(theirs, "");
    let stderr = machine.fails(&["eth0", "--loss", "1%"]);
    assert!(
        stderr.contains("htb 1:") && stderr.contains("tc qdisc del dev eth0 root"),
        "{stderr}"
    );
    assert_eq!(machine.calls().len(), 1, "nothing but looking");

    let left = r#"[{"kind":"netem","handle":"6877:","root":true}]"#;
    let stderr = Machine::new(left, "").fails(&["eth0", "--loss", "1%"]);
    assert!(stderr.contains("killed with -9"), "{stderr}");

    // One below a default one of several hardware queues.
    let below = r#"[{"kind":"mq","handle":"0:","root":true},{"kind":"fq","handle":"8001:","parent":":1"}]"#;
    assert!(
        Machine::new(below, "")
            .fails(&["eth0", "--loss", "1%"])
            .contains("fq 8001:")
    );
    // What comes in is no matter.
    let beside = r#"[{"kind":"noqueue","handle":"0:","root":true},{"kind":"clsact","handle":"ffff:","parent":"ffff:fff1"}]"#;
    let mut child = Machine::new(beside, "").start(&["eth0", "--loss", "1%"]);
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_lifeline_needs_force() {
    let machine = Machine::new(DEFAULT, "");
    for interface in ["lo", "wlan0"] {
        let stderr = machine.fails(&[interface, "--loss", "1%"]);
        assert!(stderr.contains("--force"), "{stderr}");
        let child = machine.start(&[interface, "--loss", "1%", "--force"]);
        kill(Pid::from_raw(child.id() as i32), Signal::SIGTERM).unwrap();
        assert!(child.wait_with_output().unwrap().status.success());
    }
}

#[test]
fn what_the_kernel_or_tc_refuses_comes_with_what_to_do() {
    let complaints = [
        ("RTNETLINK answers: Operation not permitted", "sudo"),
        ("Error: Specified qdisc kind is unknown.", "modprobe sch_netem"),
        (
            "RTNETLINK answers: No such file or directory",
            "modprobe sch_netem",
        ),
        (
            "No distribution data for normal (/usr/lib/tc//normal.dist: No such file)",
            "normal.dist",
        ),
        ("something new", "something new"),
    ];
    for (complaint, advice) in complaints {
        let machine = Machine::new(DEFAULT, &format!("echo '{complaint}' >&2; exit 2"));
        let stderr = machine.fails(&["eth0", "--latency", "20ms", "--jitter", "2ms"]);
        assert!(stderr.contains(advice), "{complaint}: {stderr}");
        assert!(!machine.file("ours").exists());
    }
    let machine = Machine::new(DEFAULT, "");
    assert!(
        machine
            .fails(&["gone0", "--loss", "1%"])
            .contains("no network interface gone0")
    );
    assert!(machine.fails(&["eth0"]).contains("nothing to do"));
    assert!(machine.fails(&["eth0", "--reorder", "1%"]).contains("--latency"));
    let profile = machine.file("profile.toml");
    std::fs::write(&profile, "[[at]]\nt_s = 1\nup.loss = 0.1").unwrap();
    let stderr = machine.fails(&["eth0", "--profile", profile.to_str().unwrap()]);
    assert!(stderr.contains("changes over time"), "{stderr}");
}

#[test]
fn one_that_somebody_else_took_away_meanwhile_is_no_harm_and_one_that_cannot_be_put_back_is_told() {
    let machine = Machine::new(DEFAULT, "");
    let child = machine.start(&["eth0", "--loss", "1%"]);
    std::fs::remove_file(machine.file("ours")).unwrap();
    kill(Pid::from_raw(child.id() as i32), Signal::SIGTERM).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(
        output.status.success() && text(&output.stderr).contains("somebody else"),
        "{output:?}"
    );

    let machine = Machine::new(DEFAULT, "");
    let child = machine.start(&["eth0", "--loss", "1%"]);
    std::fs::write(machine.file("queues"), DEFAULT.replace("fq_codel", "pfifo_fast")).unwrap();
    kill(Pid::from_raw(child.id() as i32), Signal::SIGTERM).unwrap();
    let began = Instant::now();
    let output = child.wait_with_output().unwrap();
    assert!(began.elapsed() < Duration::from_secs(5));
    let stderr = text(&output.stderr);
    assert!(
        !output.status.success() && stderr.contains("was fq_codel and is pfifo_fast"),
        "{stderr}"
    );
}
