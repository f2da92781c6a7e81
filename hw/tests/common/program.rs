//! Made-up programs.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// Makes `file` a shell script with this body.
///
/// A process of its own writes it: a descriptor of ours would be held for a moment by whatever another test starts just
/// then, and the kernel runs no file that somebody may be writing.
pub fn script(file: &Path, body: &str) {
    let mut writer = Command::new("sh")
        .args(["-c", "cat > \"$0\" && chmod 755 \"$0\""])
        .arg(file)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let text = format!("#!/bin/sh\n{body}\n");
    writer.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    assert!(writer.wait().unwrap().success());
}
