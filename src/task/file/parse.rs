//! Bytes become tasks, or a line and what is wrong with it. Both forms go through the same checks of each column.

use super::{COLUMNS, TaskRow};
use crate::task::work::{Content, InvalidContent, Program};
use csv::{Error, Position, ReaderBuilder, Trim};
use serde_json::Value;
use std::collections::HashMap;

/// More tasks are refused.
const MOST_TASKS: u64 = 1_000_000;

/// The largest values that a task may have: beyond them something slipped.
const MOST_CYCLES: u64 = 1_000_000_000_000_000_000;
const MOST_PAYLOAD_BYTES: u64 = 1 << 30;
/// The longest deadline that a task may have.
pub(in crate::task) const LONGEST_DEADLINE_S: f64 = 366.0 * 86_400.0;

/// A line and what is wrong with it.
type Wrong = (u64, String);

/// The tasks of a CSV file.
pub(super) fn csv(bytes: &[u8]) -> Result<Vec<TaskRow>, Wrong> {
    let mut reader = ReaderBuilder::new().trim(Trim::All).from_reader(bytes);
    let wrong = |error: Error| {
        let line = error.position().map_or(1, Position::line);
        (line, error.to_string())
    };
    let names: Vec<String> = reader
        .headers()
        .map_err(wrong)?
        .iter()
        .map(str::to_owned)
        .collect();
    check_names(&names).map_err(|what| (1, what))?;
    let mut rows = Vec::new();
    let mut contents = Contents::default();
    for record in reader.records() {
        let record = record.map_err(wrong)?;
        let line = record.position().map_or(0, Position::line);
        let cell = |name: &str| {
            let at = names.iter().position(|known| known == name)?;
            record.get(at).map(str::to_owned)
        };
        rows.push(row(rows.len() as u64, cell, &mut contents).map_err(|what| (line, what))?);
    }
    Ok(rows)
}

/// The tasks of JSON lines.
pub(super) fn json_lines(bytes: &[u8]) -> Result<Vec<TaskRow>, Wrong> {
    let mut rows = Vec::new();
    let mut contents = Contents::default();
    for (line, text) in (1..).zip(bytes.split(|&byte| byte == b'\n')) {
        if text.trim_ascii().is_empty() {
            continue;
        }
        let values: serde_json::Map<String, Value> = serde_json::from_slice(text)
            .map_err(|error| (line, format!("column {}: {error}", error.column())))?;
        let names: Vec<String> = values.keys().cloned().collect();
        check_names(&names).map_err(|what| (line, what))?;
        let cell = |name: &str| match values.get(name)? {
            Value::Null => None,
            Value::String(text) => Some(text.clone()),
            other => Some(other.to_string()),
        };
        rows.push(row(rows.len() as u64, cell, &mut contents).map_err(|what| (line, what))?);
    }
    Ok(rows)
}

/// A name that is misspelt would be a value that is lost.
fn check_names(names: &[String]) -> Result<(), String> {
    for (at, name) in names.iter().enumerate() {
        if !COLUMNS.contains(&name.as_str()) {
            return Err(format!(
                "column `{name}` is unknown; known are {}",
                COLUMNS.join(", ")
            ));
        }
        if names[..at].contains(name) {
            return Err(format!("column `{name}` stands there twice"));
        }
    }
    let needed = ["cycles", "deadline_s", "payload_bytes", "kernels"];
    match needed
        .iter()
        .find(|needed| !names.iter().any(|name| name == *needed))
    {
        Some(missing) => Err(format!("column `{missing}` is missing")),
        None => Ok(()),
    }
}

/// The modules met so far: a file that many tasks name is read once, and its bytes are shared.
#[derive(Default)]
struct Contents(HashMap<String, Content>);

impl Contents {
    fn of(&mut self, text: &str) -> Result<Content, InvalidContent> {
        if let Some(known) = self.0.get(text) {
            return Ok(known.clone());
        }
        let content: Content = text.parse()?;
        if let Content::Exact(Program::Module(_)) = content {
            self.0.insert(text.to_owned(), content.clone());
        }
        Ok(content)
    }
}

/// One task, from a function that gives the text of a column.
fn row(
    number: u64,
    cell: impl Fn(&str) -> Option<String>,
    contents: &mut Contents,
) -> Result<TaskRow, String> {
    if number >= MOST_TASKS {
        return Err(format!("more than {MOST_TASKS} tasks"));
    }
    let filled = |name: &str| cell(name).filter(|text| !text.is_empty());
    let needed = |name: &str| filled(name).ok_or_else(|| format!("column `{name}` is empty"));
    let optional = |name: &str| {
        filled(name)
            .map(|text| whole(name, &text, 0, u64::MAX))
            .transpose()
    };
    match optional("task")? {
        Some(found) if found != number => {
            return Err(format!(
                "column `task` is {found}, expected {number}: tasks count from 0"
            ));
        }
        _ => {}
    }
    let kernels = needed("kernels")?;
    Ok(TaskRow {
        task: number,
        utilisation: filled("utilisation")
            .map(|text| real("utilisation", &text, f64::MAX))
            .transpose()?,
        period_us: optional("period_us")?,
        execution_us: optional("execution_us")?,
        cycles: whole("cycles", &needed("cycles")?, 1, MOST_CYCLES)?,
        deadline_s: real("deadline_s", &needed("deadline_s")?, LONGEST_DEADLINE_S)?,
        payload_bytes: whole("payload_bytes", &needed("payload_bytes")?, 0, MOST_PAYLOAD_BYTES)?,
        kernels: contents
            .of(&kernels)
            .map_err(|error| format!("column `kernels`: {error}"))?,
    })
}

fn whole(name: &str, text: &str, min: u64, max: u64) -> Result<u64, String> {
    let number = text.parse().ok().filter(|number| (min..=max).contains(number));
    number.ok_or_else(|| format!("column `{name}` is {text:?}, expected a whole number from {min} to {max}"))
}

fn real(name: &str, text: &str, max: f64) -> Result<f64, String> {
    // NaN fails both comparisons.
    let number = text
        .parse()
        .ok()
        .filter(|&number: &f64| number > 0.0 && number <= max);
    number
        .ok_or_else(|| format!("column `{name}` is {text:?}, expected a number above 0 and at most {max:e}"))
}
