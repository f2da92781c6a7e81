//! What the rails of hwmon chips feed, and which of them add up to the board.

use crate::rails::role_of;
use crate::sensor::{Rail, Role};

/// What a channel feeds: some chips sit on one kind of thing only, for others the label tells.
pub(super) fn role_of_channel(chip: &str, label: &str) -> Role {
    match chip {
        "power_meter" => Role::Total,
        "amd_energy" | "zenpower" | "fam15h_power" => Role::Cpu,
        "amdgpu" | "i915" | "xe" | "nouveau" | "radeon" => Role::Gpu,
        _ => role_of(label),
    }
}

/// Which rails add up to the board, and what to say about it.
///
/// A rail for the whole board (`VIN` of a Jetson Thor's INA238, an ACPI power meter) is the total alone. Else
/// `amd_energy`'s sockets, which contain its cores. Else, one chip: the sum of its channels.
/// Several chips without any of these are added too, because nothing better is known, and the note says so.
pub(super) fn total(rails: &[Rail], chips: &[&str]) -> (Vec<usize>, Option<String>) {
    let which = |wanted: &dyn Fn(&Rail) -> bool| -> Vec<usize> {
        (0..rails.len()).filter(|&i| wanted(&rails[i])).collect()
    };
    let label = |rail: &Rail| rail.name.rsplit('.').next().unwrap_or_default().to_owned();
    if let Some(&board) = which(&|rail| rail.role == Role::Total).first() {
        return (vec![board], None);
    }
    let sockets = which(&|rail| label(rail).starts_with("Esocket"));
    if !sockets.is_empty() {
        let note =
            "the total is the processor sockets; memory, disks and the rest of the machine are not in it";
        return (sockets, Some(note.to_owned()));
    }
    let all = which(&|_| true);
    if chips.iter().all(|chip| chips.first() == Some(chip)) {
        return (
            all,
            Some("the total is what this chip measures, which may not be the whole board".to_owned()),
        );
    }
    let note = "the total is the plain sum of several chips; if one feeds another, that part is counted twice: choose with --total";
    (all, Some(note.to_owned()))
}
