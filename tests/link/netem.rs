//! `hwmeter link --netem` with a `tc` that keeps a record; the real one, on a real kernel, is in tests/kernel/.

use crate::common::child::{Started, started};
use crate::program::script;
use crate::signals::with_default_signals;
use crate::text;
use nix::sys::signal::Signal;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

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
    fn start(&self, arguments: &[&str]) -> Started {
        let mut command = self.link(arguments);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = started(with_default_signals(&mut command));
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
        child.signal(signal);
        let output = child.output();
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
        child.signal(Signal::SIGINT);
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(child.output().status.success());
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
    Machine::new(beside, "").start(&["eth0", "--loss", "1%"]);
}

#[test]
fn a_lifeline_needs_force() {
    let machine = Machine::new(DEFAULT, "");
    for interface in ["lo", "wlan0"] {
        let stderr = machine.fails(&[interface, "--loss", "1%"]);
        assert!(stderr.contains("--force"), "{stderr}");
        let child = machine.start(&[interface, "--loss", "1%", "--force"]);
        child.signal(Signal::SIGTERM);
        assert!(child.output().status.success());
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
    child.signal(Signal::SIGTERM);
    let output = child.output();
    assert!(
        output.status.success() && text(&output.stderr).contains("somebody else"),
        "{output:?}"
    );

    let machine = Machine::new(DEFAULT, "");
    let child = machine.start(&["eth0", "--loss", "1%"]);
    std::fs::write(machine.file("queues"), DEFAULT.replace("fq_codel", "pfifo_fast")).unwrap();
    child.signal(Signal::SIGTERM);
    let began = Instant::now();
    let output = child.output();
    assert!(began.elapsed() < Duration::from_secs(5));
    let stderr = text(&output.stderr);
    assert!(
        !output.status.success() && stderr.contains("was fq_codel and is pfifo_fast"),
        "{stderr}"
    );
}
