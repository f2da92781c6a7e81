//! `hwmeter report` as a user runs it: over folders that the program itself has written, in a browser, and over folders
//! that are damaged.
#![allow(clippy::unwrap_used)]

mod common;

use common::child::started;
use common::have;
use common::runs::{manifest, until_done};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::LazyLock;

const HWMETER: &str = env!("CARGO_BIN_EXE_hwmeter");

/// What every report of real runs shows.
const FIGURES: [&str; 8] = [
    "reward",
    "misses",
    "placement",
    "latency",
    "energy",
    "power",
    "update-time",
    "update-energy",
];

fn agent(out: &Path, seed: u32) -> Command {
    let mut command = Command::new(HWMETER);
    command.args([
        "run-agent",
        "--gpu",
        "off",
        "--sensor",
        "cpu-model",
        "--learner",
        "linucb",
    ]);
    command.args(["--seed", &seed.to_string(), "--out"]).arg(out);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

/// Two runs that differ in their seed, made once for all tests.
struct Runs {
    dir: tempfile::TempDir,
}

static RUNS: LazyLock<Runs> = LazyLock::new(|| {
    let dir = tempfile::tempdir().unwrap();
    for seed in [7, 8] {
        let out = dir.path().join(seed.to_string());
        assert!(
            agent(&out, seed)
                .args(["--tasks", "12"])
                .status()
                .unwrap()
                .success()
        );
    }
    Runs { dir }
});

impl Runs {
    fn path(&self, seed: u32) -> PathBuf {
        self.dir.path().join(seed.to_string())
    }

    /// A copy that may be damaged.
    fn copy(&self) -> tempfile::TempDir {
        let copy = tempfile::tempdir().unwrap();
        for file in ["decisions.csv", "energy.csv", "run.json"] {
            std::fs::copy(self.path(7).join(file), copy.path().join(file)).unwrap();
        }
        copy
    }
}

fn report(args: &[&str], runs: &[&Path]) -> Output {
    let mut command = Command::new(HWMETER);
    command.arg("report").args(args).args(runs);
    command.stdin(Stdio::null()).output().unwrap()
}

#[track_caller]
fn succeeded(output: &Output) -> String {
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[track_caller]
fn refused(output: &Output, words: &[&str]) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    for word in words {
        assert!(stderr.contains(word), "{word}: {stderr}");
    }
}

#[test]
fn a_page_and_its_figures_come_from_real_runs_and_overwrite_nothing() {
    let runs = &*RUNS;
    let out = tempfile::tempdir().unwrap();
    let page = out.path().join("two.html");
    let write = |force: &[&str]| {
        let args = [&["--out", page.to_str().unwrap()], force].concat();
        report(&args, &[&runs.path(7), &runs.path(8)])
    };
    let said = succeeded(&write(&[]));
    assert!(
        said.contains("2 runs, 8 figures") && said.contains("regret is left out"),
        "{said}"
    );
    assert_eq!(
        said.matches("Device and servers share this machine").count(),
        1,
        "{said}"
    );
    let html = std::fs::read_to_string(&page).unwrap();
    for id in FIGURES {
        assert!(html.contains(&format!("<figure id=\"{id}\">")), "{id}");
        let svg = std::fs::read_to_string(out.path().join("two").join(format!("{id}.svg"))).unwrap();
        assert!(
            svg.contains("<title ") && svg.contains("prefers-color-scheme"),
            "{id}"
        );
        let shows_joules = ["reward", "energy", "power", "update-energy"].contains(&id);
        let tells = svg.contains("modelled by cpu-model, ±") && svg.contains("coverage");
        assert_eq!(tells, shows_joules, "{id}");
    }
    // Nothing is loaded from anywhere; the one address in it is the name of a format.
    let without_names = html.replace("http://www.w3.org/2000/svg", "");
    assert!(!without_names.contains("http://") && !without_names.contains("https://"));
    assert!(!html.contains("<script"));

    refused(&write(&[]), &["two.html is there already", "--force"]);
    succeeded(&write(&["--force"]));
}

#[test]
fn numbers_are_those_that_the_run_itself_has_told() {
    let runs = &*RUNS;
    let one: Value = serde_json::from_str(&succeeded(&report(&["--json"], &[&runs.path(7)]))).unwrap();
    let (group, summary) = (&one["groups"][0], &manifest(&runs.path(7))["summary"]);
    let equal = |ours: &Value, theirs: &Value| {
        let (ours, theirs) = (ours.as_f64().unwrap(), theirs.as_f64().unwrap());
        assert!(
            (ours - theirs).abs() <= 1e-9 * theirs.abs().max(1e-9),
            "{ours} {theirs}"
        );
    };
    assert_eq!(
        (&group["tasks"], &group["kind"]),
        (&summary["tasks"], &"modelled".into())
    );
    equal(&group["reward"]["mean"], &summary["mean_reward"]);
    let misses = 1.0 - group["miss_rate"]["mean"].as_f64().unwrap();
    equal(&misses.into(), &summary["success_rate"]);
    for placement in ["local", "mec", "cloud"] {
        equal(&group["placements"][placement], &summary[placement]);
    }
    let latency = group["latency_s"]["p50"].as_f64().unwrap();
    let told = summary["latency_p50_s"].as_f64().unwrap();
    assert!((latency / told - 1.0).abs() < 2e-3, "{latency} {told}");
    assert!(
        !runs.path(7).join("report.html").exists(),
        "--json writes nothing"
    );

    let both: Value = serde_json::from_str(&succeeded(&report(&["--json"], &[runs.dir.path()]))).unwrap();
    let [group] = both["groups"].as_array().unwrap().as_slice() else {
        panic!("{both:#}")
    };
    let rewards = group["runs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|run| run["reward"].as_f64().unwrap());
    let [a, b] = rewards.collect::<Vec<_>>()[..] else {
        panic!("{group:#}")
    };
    equal(&group["reward"]["mean"], &f64::midpoint(a, b).into());
    // Student's t at 0.975 for one degree of freedom, and the standard error of two values.
    equal(
        &group["reward"]["half_width"],
        &(12.7062 * (a - b).abs() / 2.0).into(),
    );
    let text = succeeded(&report(&["--text"], &[runs.dir.path()]));
    assert!(text.contains("linucb") && text.contains("not measured"), "{text}");
}

#[test]
fn a_run_that_was_killed_has_a_report_that_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("run");
    let child = started(agent(&run, 9).args(["--tasks", "500"]));
    until_done(3, &run);
    drop(child);
    let said = succeeded(&report(&[], &[&run]));
    assert!(
        said.contains("it was killed, or still goes on") && said.contains("of 500 tasks"),
        "{said}"
    );
    assert!(
        std::fs::read_to_string(run.join("report.html"))
            .unwrap()
            .contains("it was killed")
    );
}

#[test]
fn damaged_folders_are_told_with_file_line_and_key() {
    let runs = &*RUNS;
    let text = |dir: &Path, file: &str| std::fs::read_to_string(dir.join(file)).unwrap();
    let damage = |file: &str, from: &str, to: &str| {
        let copy = runs.copy();
        let text = text(copy.path(), file);
        assert!(text.contains(from), "{from}");
        std::fs::write(copy.path().join(file), text.replacen(from, to, 1)).unwrap();
        report(&[], &[copy.path()])
    };
    refused(
        &damage("decisions.csv", ",modelled,", ",guessed,"),
        &["decisions.csv, line 2: kind is \"guessed\""],
    );
    refused(
        &damage("decisions.csv", "latency_s", "latency"),
        &["decisions.csv, line 1: there is no column latency_s"],
    );
    refused(&damage("energy.csv", ",cpu-model,", ","), &["energy.csv, line 2"]);
    refused(
        &damage("run.json", "\"seed\": 7", "\"seed\": \"x\""),
        &["run.json, line ", "seed", "move it away"],
    );

    // Cut short, as by a full disk: what is whole is reported, and the rest told.
    let copy = runs.copy();
    let decisions = text(copy.path(), "decisions.csv");
    std::fs::write(
        copy.path().join("decisions.csv"),
        &decisions[..decisions.len() - 20],
    )
    .unwrap();
    std::fs::remove_file(copy.path().join("energy.csv")).unwrap();
    let said = succeeded(&report(&["--text"], &[copy.path()]));
    assert!(
        said.contains("line 13 of decisions.csv was cut short") && said.contains("no energy.csv"),
        "{said}"
    );

    // Another version stands beside this one, in no common mean.
    let copy = runs.copy();
    let other = text(copy.path(), "run.json").replacen("\"hwmeter\": \"", "\"hwmeter\": \"9.", 1);
    std::fs::write(copy.path().join("run.json"), other).unwrap();
    let said = succeeded(&report(&["--text"], &[copy.path(), &runs.path(7)]));
    assert!(said.contains("different versions of hwmeter"), "{said}");

    let empty = tempfile::tempdir().unwrap();
    refused(&report(&[], &[empty.path()]), &["holds no run", "decisions.csv"]);
}

/// An independent reader: TFRecord and protobuf by hand, CRC-32C bit by bit.
const READ_EVENTS: &str = r#"
import json, struct, sys
def crc(data):
    c = 0xffffffff
    for byte in data:
        c ^= byte
        for _ in range(8):
            c = (c >> 1) ^ (0x82f63b78 if c & 1 else 0)
    c ^= 0xffffffff
    return ((c >> 15 | c << 17) + 0xa282ead8) & 0xffffffff
def varint(b, i):
    x = s = 0
    while True:
        x |= (b[i] & 127) << s; s += 7; i += 1
        if b[i - 1] < 128: return x, i
def fields(b):
    i = 0
    while i < len(b):
        key, i = varint(b, i)
        n, wire = key >> 3, key & 7
        if wire == 0: v, i = varint(b, i)
        elif wire == 1: v, i = struct.unpack('<d', b[i:i+8])[0], i + 8
        elif wire == 5: v, i = struct.unpack('<f', b[i:i+4])[0], i + 4
        else:
            size, i = varint(b, i)
            v, i = b[i:i+size], i + size
        yield n, v
data, i, events = open(sys.argv[1], 'rb').read(), 0, []
while i < len(data):
    size, = struct.unpack('<Q', data[i:i+8])
    assert struct.unpack('<I', data[i+8:i+12])[0] == crc(data[i:i+8])
    body = data[i+12:i+12+size]
    assert struct.unpack('<I', data[i+12+size:i+16+size])[0] == crc(body)
    event, i = dict(fields(body)), i + 16 + size
    values = {}
    for _, value in fields(event.get(5, b'')):
        value = dict(fields(value))
        values[value[1].decode()] = value[2]
    events.append([event.get(1), event.get(2, 0), event.get(3, b'').decode(), values])
print(json.dumps(events))
"#;

#[test]
fn event_files_hold_the_rows_for_another_reader() {
    if !have("python3", "python3") {
        return;
    }
    let runs = &*RUNS;
    let dir = tempfile::tempdir().unwrap();
    let board = dir.path().join("tb");
    let args = ["--text", "--tensorboard", board.to_str().unwrap()];
    succeeded(&report(&args, &[&runs.path(7), &runs.path(8)]));
    let file = std::fs::read_dir(board.join("7"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let read = Command::new("python3")
        .args(["-c", READ_EVENTS])
        .arg(&file)
        .output()
        .unwrap();
    let events: Vec<(f64, u64, String, std::collections::HashMap<String, f64>)> =
        serde_json::from_str(&succeeded(&read)).unwrap();
    let began = manifest(&runs.path(7))["clock"]["t_s_zero_unix_s"]
        .as_f64()
        .unwrap();
    assert_eq!((events[0].0, events[0].2.as_str()), (began, "brain.Event:2"));
    let mut rows = csv::Reader::from_path(runs.path(7).join("decisions.csv")).unwrap();
    let rows: Vec<std::collections::HashMap<String, String>> =
        rows.deserialize().map(Result::unwrap).collect();
    assert_eq!(events.len(), rows.len() + 1);
    for ((wall, step, _, values), row) in events[1..].iter().zip(&rows) {
        let number = |column: &str| row[column].parse::<f64>().unwrap();
        assert_eq!(step.to_string(), row["task"]);
        assert!((wall - began - number("t_s") - number("latency_s")).abs() < 1e-5);
        for tag in ["reward", "latency_s", "energy_j"] {
            assert!(
                (values[tag] - number(tag)).abs() <= 1e-6 * number(tag).abs(),
                "{tag}"
            );
        }
        assert_eq!(values["missed"], f64::from(u8::from(row["success"] == "false")));
    }
    refused(&report(&args, &[&runs.path(7), &runs.path(8)]), &["tb/7"]);
}

/// What the browser says of a page on stderr, and its document on stdout.
fn browse(page: &Path, dark: bool, more: &[String]) -> Output {
    let profile = tempfile::tempdir().unwrap();
    let scheme = if dark { "0" } else { "1" };
    Command::new("chromium")
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--hide-scrollbars",
            "--enable-logging=stderr",
        ])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(format!("--blink-settings=preferredColorScheme={scheme}"))
        .args(["--window-size=1100,5200", "--virtual-time-budget=2000"])
        .args(more)
        .arg(format!("file://{}", page.display()))
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

#[test]
fn a_browser_shows_every_figure_and_has_nothing_to_complain_of() {
    if !have("chromium", "chromium") {
        return;
    }
    let runs = &*RUNS;
    // Kept, to be looked at.
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("report");
    std::fs::create_dir_all(&dir).unwrap();
    let page = dir.join("report.html");
    succeeded(&report(
        &["--force", "--out", page.to_str().unwrap()],
        &[runs.dir.path()],
    ));

    let shown = browse(&page, false, &["--dump-dom".to_owned()]);
    let (document, log) = (
        String::from_utf8_lossy(&shown.stdout),
        String::from_utf8_lossy(&shown.stderr),
    );
    let pictures = document.matches("<svg ").count();
    assert_eq!((pictures, document.matches("</figure>").count()), (8, 8), "{log}");
    for id in FIGURES {
        assert!(
            document.contains(&format!("aria-labelledby=\"{id}-title {id}-desc\"")),
            "{id}"
        );
    }
    assert!(!log.contains("CONSOLE"), "{log}");

    let shots = [("light", false), ("dark", true)].map(|(name, dark)| {
        let shot = dir.join(format!("{name}.png"));
        let _ = std::fs::remove_file(&shot);
        browse(&page, dark, &[format!("--screenshot={}", shot.display())]);
        let image = std::fs::read(shot).unwrap();
        assert!(
            image.starts_with(b"\x89PNG") && image.len() > 50_000,
            "{name}: {} bytes",
            image.len()
        );
        image
    });
    assert!(shots[0] != shots[1], "light and dark look the same");
}
