//! The name of this host, as devices and trainers have names.

use hwmeter::train::topic::{MAX_NAME, Name};
use hwmeter_hw::Root;

/// The host's name, with `-` for what cannot stand in a topic.
pub fn name_of_host(root: &Root) -> Option<Name> {
    let text = root.read_text("/proc/sys/kernel/hostname").ok()?;
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let name = text.trim().chars().take(MAX_NAME);
    let name: String = name.map(|c| if is_allowed(c) { c } else { '-' }).collect();
    name.parse().ok()
}
