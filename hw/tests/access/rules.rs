//! As much of udev as our rules use: matching a device against them, and the commands that follow.
//! A key that is not known here fails the test that meets it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A device of the fake tree.
pub struct Device {
    pub subsystem: &'static str,
    pub kernel: &'static str,
    /// Below `/sys`, as the kernel tells it.
    pub devpath: &'static str,
    /// Attributes of the USB device above it.
    pub usb: &'static [(&'static str, &'static str)],
}

/// What the rules do for a device.
#[derive(Debug, Default)]
pub struct Outcome {
    pub run: Vec<String>,
    pub links: Vec<String>,
}

struct Rule(Vec<(String, &'static str, String)>);

fn parse(text: &str) -> Vec<Rule> {
    let joined = text.replace("\\\n", " ");
    let lines = joined
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(parse_line).collect()
}

fn parse_line(mut line: &str) -> Rule {
    let mut pairs = Vec::new();
    while !line.is_empty() {
        let quote = line.find('"').unwrap();
        let end = quote + 1 + line[quote + 1..].find('"').unwrap();
        let key = line[..quote].trim();
        let op = ["==", "!=", "+=", "="]
            .into_iter()
            .find(|op| key.ends_with(op))
            .unwrap();
        pairs.push((
            key.trim_end_matches(op).to_owned(),
            op,
            line[quote + 1..end].to_owned(),
        ));
        line = line[end + 1..].trim_start().trim_start_matches(',').trim_start();
    }
    Rule(pairs)
}

/// Applies the rules to a device that has just been added.
pub fn apply(text: &str, device: &Device, root: &Path) -> Outcome {
    let rules = parse(text);
    let mut outcome = Outcome::default();
    let mut env: BTreeMap<String, String> = BTreeMap::new();
    let mut i = 0;
    while let Some(Rule(pairs)) = rules.get(i) {
        i += 1;
        let (tests, actions): (Vec<_>, Vec<_>) =
            pairs.iter().partition(|(_, op, _)| op.len() == 2 && *op != "+=");
        let holds = |(key, op, pattern): &&(String, &str, String)| {
            matches(key, pattern, device, root, &env) == (*op == "==")
        };
        if !tests.iter().all(holds) {
            continue;
        }
        for (key, _, value) in actions {
            match split_key(key) {
                ("GOTO", "") => {
                    let is_goal = |(key, _, label): &(String, &str, String)| key == "LABEL" && label == value;
                    i = rules
                        .iter()
                        .position(|rule| rule.0.iter().any(is_goal))
                        .expect("a label to go to");
                }
                ("LABEL", "") => {}
                ("RUN", "") => outcome.run.push(value.clone()),
                ("SYMLINK", "") => outcome.links.push(expand(value, &env)),
                ("ENV", name) => drop(env.insert(name.to_owned(), value.clone())),
                ("IMPORT", "builtin") if value == "path_id" => {
                    drop(env.insert("ID_PATH".into(), "usb-0:1.2:1.0".into()))
                }
                other => panic!("the test does not know {other:?}"),
            }
        }
    }
    outcome
}

fn split_key(key: &str) -> (&str, &str) {
    key.split_once('{')
        .map_or((key, ""), |(key, name)| (key, name.trim_end_matches('}')))
}

fn matches(key: &str, pattern: &str, device: &Device, root: &Path, env: &BTreeMap<String, String>) -> bool {
    let dir = sys_dir(device, root);
    let value = match split_key(key) {
        ("ACTION", "") => Some("add".to_owned()),
        ("SUBSYSTEM", "") => Some(device.subsystem.to_owned()),
        ("KERNEL", "") => Some(device.kernel.to_owned()),
        ("TEST", "") => return dir.join(pattern).exists(),
        ("ATTR", name) => std::fs::read_to_string(dir.join(name)).ok(),
        ("SUBSYSTEMS", "") => return pattern == "usb" && !device.usb.is_empty(),
        ("ATTRS", name) => device
            .usb
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, value)| (*value).to_owned()),
        ("ENV", name) => Some(env.get(name).cloned().unwrap_or_default()),
        other => panic!("the test does not know {other:?}"),
    };
    let fits = |value: &str| {
        pattern.split('|').any(|one| match one.strip_suffix('*') {
            Some(beginning) => value.starts_with(beginning),
            None => value == one,
        })
    };
    value.is_some_and(|value| fits(value.trim()))
}

fn sys_dir(device: &Device, root: &Path) -> PathBuf {
    root.join(format!("sys{}", device.devpath))
}

fn expand(text: &str, env: &BTreeMap<String, String>) -> String {
    env.iter().fold(text.to_owned(), |text, (name, value)| {
        text.replace(&format!("$env{{{name}}}"), value)
    })
}

/// Runs the commands on the fake tree, with the group `gid` in the place of ours.
pub fn run(outcome: &Outcome, device: &Device, root: &Path, gid: u32) {
    for command in &outcome.run {
        let node = root.join("dev").join(device.kernel);
        let command = command
            .replace("/sys%p", &sys_dir(device, root).display().to_string())
            .replace("$devnode", &node.display().to_string())
            .replace("$$", "$")
            .replace("chgrp hwmeter", &format!("chgrp {gid}"))
            .replace("g:hwmeter:", &format!("g:{gid}:"));
        assert!(command.starts_with('/') && !command.contains('%'), "{command}");
        let words: Vec<&str> = match command.split_once('\'') {
            Some((program, script)) => program
                .split_whitespace()
                .chain([script.trim_end_matches('\'')])
                .collect(),
            None => command.split_whitespace().collect(),
        };
        let is_shell = words[0] == "/bin/sh";
        assert!(
            is_shell || !command.contains(['*', '[', '?', '|', ';']),
            "no shell expands this: {command}"
        );
        let status = Command::new(words[0]).args(&words[1..]).status().unwrap();
        assert!(status.success(), "{command}");
    }
}
