//! `hwmeter tasks` and `run-agent --taskset` as a user runs them.
#![allow(clippy::unwrap_used)]

mod common;

use common::{PLENTY, have, small_mec};
use hwmeter::offload::Client;
use hwmeter::task::{self, Kernel, Program, Speed, Work};
use serde_json::Value;
use std::collections::HashMap;
use std::path::Path;
use std::process::{Command, Output, Stdio};

const HWMETER: &str = env!("CARGO_BIN_EXE_hwmeter");

fn run(args: &[&str]) -> Output {
    Command::new(HWMETER)
        .args(args)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Stdout of a command that must succeed.
#[track_caller]
fn good(args: &[&str]) -> String {
    let output = run(args);
    assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

/// Exit status and stderr of a command that must print nothing.
fn bad(args: &[&str]) -> (i32, String) {
    let output = run(args);
    assert_eq!(text(&output.stdout), "", "{args:?}");
    (output.status.code().unwrap(), text(&output.stderr))
}

fn rows(csv: &str) -> Vec<HashMap<String, String>> {
    csv::Reader::from_reader(csv.as_bytes())
        .deserialize()
        .map(Result::unwrap)
        .collect()
}

fn column(rows: &[HashMap<String, String>], name: &str) -> Vec<f64> {
    rows.iter().map(|row| row[name].parse().unwrap()).collect()
}

#[test]
fn the_defaults_print_the_set_of_the_reference_and_sum_it_up_beside() {
    let output = run(&["tasks", "generate"]);
    let (csv, summary) = (text(&output.stdout), text(&output.stderr));
    let set = rows(&csv);
    assert_eq!(set.len(), 500);
    let mut execution = column(&set, "execution_us");
    execution.sort_by(f64::total_cmp);
    // The median of an even number lies between the two in the middle.
    assert_eq!((execution[249] + execution[250]) / 2.0, 200_932.5);
    assert_eq!((execution.iter().sum::<f64>() / 500.0).round(), 380_852.0);
    assert_eq!(execution[499], 4_100_867.0);
    assert!((column(&set, "utilisation").iter().sum::<f64>() - 3.9).abs() < 1e-9);
    for expected in [
        "500 tasks, utilisation 3.900 of 4 cores, seed 50",
        "50.54 s",
        "EXECUTION TIME",
        "█",
    ] {
        assert!(summary.contains(expected), "no {expected:?} in {summary}");
    }
    assert_eq!(run(&["-q", "tasks", "generate"]).stderr, b"");
}

#[test]
fn a_set_is_the_same_bytes_wherever_it_goes() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("set.csv");
    std::fs::write(&file, "older").unwrap();
    let small = ["tasks", "generate", "--tasks", "20", "--seed", "7"];
    let csv = good(&small);
    let to_file = [&small[..], &["--out", file.to_str().unwrap()]].concat();
    assert_eq!(good(&to_file), "");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), csv);
    assert_eq!(
        std::fs::read_dir(dir.path()).unwrap().count(),
        1,
        "a draft is left"
    );
    // A device is written to and stays one.
    assert_eq!(good(&[&small[..], &["--out", "/dev/stdout"]].concat()), csv);
    let json = good(&[&small[..], &["--json"]].concat());
    for (line, row) in json.lines().zip(rows(&csv)) {
        let line: HashMap<String, Value> = serde_json::from_str(line).unwrap();
        assert_eq!(line["kernels"], row["kernels"]);
        assert_eq!(line["deadline_s"].to_string(), row["deadline_s"]);
    }
    assert_eq!(json.lines().count(), 20);
    assert_ne!(good(&["tasks", "generate", "--tasks", "20", "--seed", "8"]), csv);
}

/// UUniFast over Java's random numbers, written anew in another language.
const PYTHON: &str = "
import sys
load, n, lo, hi, step, seed = float(sys.argv[1]), *map(int, sys.argv[2:])
class Random:
    def __init__(self, seed): self.state = (seed ^ 0x5DEECE66D) % 2**48
    def bits(self, count):
        self.state = (self.state * 0x5DEECE66D + 11) % 2**48
        return self.state >> 48 - count
    def double(self): return ((self.bits(26) << 27) + self.bits(27)) / 2**53
base = seed + round(10 * load)
utilisation, period = Random(2 * base), Random(base)
while True:
    us, left = [], load
    for i in range(1, n):
        rest = left * utilisation.double() ** (1 / (n - i))
        us.append(left - rest)
        left = rest
    us.append(left)
    if all(u <= 0.95 and u * hi >= 1000 for u in us): break
for u in us:
    while True:
        t = round((lo + period.double() * (hi - lo)) / step) * step
        if round(u * t) >= 1000: break
    print(t, round(u * t))
";

#[test]
fn periods_and_times_are_those_of_an_independent_implementation() {
    if !have("python3", "python3") {
        return;
    }
    for (load, others) in [
        ("3.9", ["500", "100000", "100000000", "1000", "50"]),
        ("2.5", ["7", "10000", "999999", "10", "3"]),
    ] {
        let python = Command::new("python3")
            .args(["-c", PYTHON, load])
            .args(others)
            .output()
            .unwrap();
        let expected = text(&python.stdout);
        let [tasks, min, max, step, seed] = others;
        let options = [
            "--utilisation",
            load,
            "--tasks",
            tasks,
            "--period-min",
            min,
            "--period-max",
            max,
        ];
        let set = rows(&good(
            &[
                &["tasks", "generate", "--period-step", step, "--seed", seed][..],
                &options,
            ]
            .concat(),
        ));
        assert_eq!(set.len(), expected.lines().count(), "{}", text(&python.stderr));
        for (row, line) in set.iter().zip(expected.lines()) {
            assert_eq!(format!("{} {}", row["period_us"], row["execution_us"]), line);
        }
    }
}

#[test]
fn what_cannot_be_generated_or_run_is_said() {
    let cases: [(&[&str], i32, &str); 11] = [
        (&["generate", "--utilisation", "5"], 2, "at most the 4 cores"),
        (&["generate", "--utilisation", "-1"], 2, "utilisation -1"),
        (&["generate", "--utilisation", "NaN"], 2, "utilisation NaN"),
        (&["generate", "--tasks", "0"], 2, "0 tasks"),
        (&["generate", "--tasks", "4"], 2, "cannot add up"),
        (
            &["generate", "--period-min", "9", "--period-max", "3"],
            2,
            "from 9 to 3",
        ),
        (&["generate", "--period-step", "0"], 2, "step 0"),
        (
            &["generate", "--period-min", "1000", "--period-max", "2000"],
            1,
            "need --period-max",
        ),
        (
            &["generate", "--tasks", "9", "--out", "/nowhere/set.csv"],
            1,
            "/nowhere/set.csv",
        ),
        (&["run", "fourier"], 2, "no kernel \"fourier\""),
        (
            &["run", "fft:3", "--rounds", "3"],
            2,
            "says itself how much it computes",
        ),
    ];
    for (args, code, expected) in cases {
        let args = [&["tasks"], args].concat();
        let (status, stderr) = bad(&args);
        assert_eq!(status, code, "{args:?}: {stderr}");
        assert!(stderr.contains(expected), "{args:?}: {stderr}");
    }
}

#[test]
fn tasks_too_small_for_a_round_are_told_of() {
    // Nine tasks on a core of 1 kHz: a second of it is a thousand cycles.
    let output = run(&["tasks", "generate", "--tasks", "9", "--mhz", "0.001"]);
    let (set, summary) = (rows(&text(&output.stdout)), text(&output.stderr));
    assert!(summary.contains("tasks are off by more than 2 %"), "{summary}");
    assert!(set.iter().any(|row| row["kernels"] == "matmul:1"), "{set:?}");
}

#[test]
fn kernels_are_listed_with_what_they_cost() {
    let document: Value = serde_json::from_str(&good(&["tasks", "list", "--json"])).unwrap();
    let kernels = document["kernels"].as_array().unwrap();
    assert_eq!(kernels.len(), Kernel::ALL.len());
    for kernel in kernels {
        assert!(kernel["cycles_per_round"].as_f64().unwrap() > 1000.0, "{kernel}");
        assert!(kernel["reference_cycles"].as_u64().unwrap() > 1000, "{kernel}");
        assert!(
            !kernel["about"].as_str().unwrap().is_empty() && !kernel["source"].as_str().unwrap().is_empty()
        );
    }
    let table = good(&["tasks", "list"]);
    assert!(
        Kernel::ALL.iter().all(|kernel| table.contains(kernel.name())),
        "{table}"
    );
}

#[test]
fn a_kernel_is_run_and_measured() {
    let sensor = ["--sensor", "cpu-model"];
    let document = good(
        &[
            &[
                "tasks", "run", "crc32", "--rounds", "300", "--seed", "7", "--json",
            ],
            &sensor[..],
        ]
        .concat(),
    );
    let document: Value = serde_json::from_str(&document).unwrap();
    let here = task::run(&Work::one(Kernel::Crc32, 300, 7), b"", Speed::FULL, &|| false).unwrap();
    assert_eq!(document["checksum"], format!("{here:016x}"));
    assert_eq!(document["kind"], "modelled");
    assert!(
        document["joules"].as_f64().unwrap() > 0.0 && document["uncertainty_joules"].as_f64().unwrap() > 0.0
    );
    assert!(document["duration_s"].as_f64().unwrap() > 0.0);

    let words = good(&[&["tasks", "run", "lu:2 adpcm:3"], &sensor[..]].concat());
    assert!(
        words.starts_with("lu:2 adpcm:3 in ") && words.contains("modelled") && words.contains(" J ± "),
        "{words}"
    );
    // About as long as it was told to: others use the processor too.
    let timed = good(
        &[
            &["tasks", "run", "sha256", "--seconds", "0.2", "--json"],
            &sensor[..],
        ]
        .concat(),
    );
    let timed: Value = serde_json::from_str(&timed).unwrap();
    assert!(
        (0.05..5.0).contains(&timed["duration_s"].as_f64().unwrap()),
        "{timed}"
    );
}

#[test]
fn a_server_runs_steps_one_after_the_other() {
    let mec = small_mec();
    let work = Work {
        program: Program::Kernels("sha256:2 lift:1 huffman:1".parse().unwrap()),
        seed: 3,
    };
    let here = task::run(&work, b"payload", Speed::FULL, &|| false).unwrap();
    let mut client = Client::new(mec.url()).unwrap();
    assert_eq!(client.submit(&work, b"payload", PLENTY).unwrap().checksum, here);
    if !have("curl", "curl") {
        return;
    }
    for space in ["+", "%20"] {
        let query = format!("kernels=sha256:2{space}lift:1{space}huffman:1&seed=3");
        let mut curl = Command::new("curl");
        curl.args([
            "-s",
            "-m",
            "10",
            "-H",
            "content-type: application/octet-stream",
            "--data-binary",
            "payload",
        ]);
        curl.arg(format!("http://{}/v1/tasks?{query}", mec.address));
        let answer: Value = serde_json::from_slice(&curl.output().unwrap().stdout).unwrap();
        assert_eq!(answer["checksum"], format!("{here:016x}"), "{answer}");
    }
}

/// Six small tasks, of which each kind and each unknown is one.
const SET: &str = "cycles,deadline_s,payload_bytes,kernels
2000000,5,1000,fft
3000000,5,2000,sha256:12 adpcm:3
1000000,5,3000,huffman
1000000,5,0,lift:5
2500000,5,5000,aes128:9 dct:4 lu:2
1500000,5,6000,matmul
";

fn agent(out: &Path, more: &[&str]) -> Output {
    let options = [
        "run-agent",
        "--gpu",
        "off",
        "--sensor",
        "cpu-model",
        "--audit",
        "1",
        "--json",
        "--out",
    ];
    run(&[&options[..], &[out.to_str().unwrap()], more].concat())
}

fn manifest(out: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(out.join("run.json")).unwrap()).unwrap()
}

#[test]
fn an_agent_takes_its_tasks_from_a_file_and_goes_on_with_the_same_file_only() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("set.csv");
    std::fs::write(&file, SET).unwrap();
    let set = file.to_str().unwrap();
    let [first, second, third] = ["first", "second", "third"].map(|name| dir.path().join(name));
    let output = agent(&first, &["--learner", "random", "--taskset", set, "--tasks", "4"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let done = rows(&std::fs::read_to_string(first.join("decisions.csv")).unwrap());
    let kernels: Vec<_> = done.iter().map(|row| row["kernel"].as_str()).collect();
    assert_eq!(kernels, ["fft", "sha256:12 adpcm:3", "huffman", "lift:5"]);
    assert_eq!(column(&done, "cycles"), [2e6, 3e6, 1e6, 1e6]);
    assert_eq!(column(&done, "payload_bytes"), [1000.0, 2000.0, 3000.0, 0.0]);
    assert!(done.iter().all(|row| row["success"] == "true"), "{done:?}");
    let told = manifest(&first);
    // sha256sum of coreutils.
    assert_eq!(
        told["taskset"]["sha256"],
        "30bc15d86ff8c730887317e64d1a90e86f0daa66eefb76baf5e76401b493ee13"
    );
    assert_eq!(told["taskset"]["file"], set);
    assert_eq!(
        (told["tasks"].as_u64(), told["audit"]["checked"].as_u64()),
        (Some(4), Some(4))
    );

    let resume = ["--resume", first.to_str().unwrap(), "--tasks", "6"];
    let output = agent(&second, &resume);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let rest = rows(&std::fs::read_to_string(second.join("decisions.csv")).unwrap());
    assert_eq!(
        rest.iter().map(|row| row["task"].as_str()).collect::<Vec<_>>(),
        ["4", "5"]
    );
    assert_eq!(rest[0]["kernel"], "aes128:9 dct:4 lu:2");
    assert_eq!(manifest(&second)["taskset"], told["taskset"]);

    // Moved and named: the same. Changed: not.
    let moved = dir.path().join("moved.csv");
    std::fs::rename(&file, &moved).unwrap();
    let fails = |more: &[&str], expected: &str| {
        let output = agent(&third, &[&resume[..], more].concat());
        let stderr = text(&output.stderr);
        assert!(
            output.status.code() == Some(1) && stderr.contains(expected),
            "{stderr}"
        );
    };
    fails(&[], "if it stands elsewhere now, give --taskset");
    std::fs::write(&file, SET.replace("lift:5", "lift:6")).unwrap();
    fails(&[], "SHA-256");
    let output = agent(
        &third,
        &[&resume[..], &["--taskset", moved.to_str().unwrap()]].concat(),
    );
    assert!(output.status.success(), "{}", text(&output.stderr));
}

#[test]
fn a_bad_set_stops_an_agent_before_it_starts() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("set.csv");
    let out = dir.path().join("run");
    let cases = [
        (
            SET.replace("huffman", "hufman"),
            "line 4: column `kernels`: there is no kernel \"hufman\"",
        ),
        (SET.replace("2500000", "-5"), "line 6: column `cycles` is \"-5\""),
        (
            "cycles,deadline_s\n".to_owned(),
            "line 1: column `payload_bytes` is missing",
        ),
        (
            "{\"cycles\": 1, \"deadline_s\": 1}\n".to_owned(),
            "line 1: column `payload_bytes` is missing",
        ),
        ("{\"cycles\": }\n".to_owned(), "line 1: column 12"),
        (SET.to_owned(), "has 6 tasks, --tasks asks for 7"),
    ];
    for (content, expected) in cases {
        std::fs::write(&file, content).unwrap();
        let output = agent(&out, &["--taskset", file.to_str().unwrap(), "--tasks", "7"]);
        let stderr = text(&output.stderr);
        assert!(
            output.status.code() == Some(1) && stderr.contains(expected),
            "{expected}: {stderr}"
        );
        assert!(!out.exists(), "a folder is left");
    }
}
