//! Which board is this? From the device tree, `/proc/cpuinfo` and DMI.

pub use crate::board_kind::BoardKind;
use crate::root::Root;
use serde::Serialize;

/// The machine under measurement. Holds no serial numbers.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Board {
    /// What the firmware calls it, such as `Raspberry Pi 4 Model B Rev 1.4`.
    pub model: String,
    /// Which kind that is.
    pub kind: BoardKind,
    /// The system on chip or processor, such as `bcm2711`, `tegra234`, or the CPU's model name.
    pub soc: String,
    /// The minor hardware revision of a Raspberry Pi (`Rev 1.4` is 4), which selects its power model.
    pub revision: Option<u8>,
    /// Whether kernel and CPU run in 64-bit mode.
    pub is_64_bit: bool,
    /// Which of several boards that share a kind and a model this is, where its parts tell.
    pub variant: Option<&'static str>,
}

impl Board {
    /// Identifies the board below `root`. What cannot be told is named so; this never fails.
    pub fn identify(root: &Root) -> Self {
        let cpuinfo = root.read_text("/proc/cpuinfo").unwrap_or_default();
        let compatible = device_tree_strings(root, "compatible");
        let model = device_tree_strings(root, "model")
            .into_iter()
            .next()
            .unwrap_or_default();
        let kind = kind_from_device_tree(&compatible, &model)
            .or_else(|| kind_from_revision(&cpuinfo))
            .unwrap_or_else(|| generic_kind(&cpuinfo));
        Self {
            kind,
            soc: soc_name(&compatible, &cpuinfo),
            revision: revision_of(&model, &cpuinfo),
            is_64_bit: is_64_bit(&cpuinfo),
            variant: variant(&compatible),
            model: first_known([
                model,
                cpuinfo_field(&cpuinfo, "Model").unwrap_or_default(),
                dmi_model(root),
                cpuinfo_field(&cpuinfo, "model name").unwrap_or_default(),
            ]),
        }
    }
}

fn device_tree_strings(root: &Root, property: &str) -> Vec<String> {
    // /proc/device-tree is a link into /sys on real systems; in a packed tree only one of them may exist.
    ["/proc/device-tree", "/sys/firmware/devicetree/base"]
        .iter()
        .find_map(|base| root.read_strings(format!("{base}/{property}")).ok())
        .unwrap_or_default()
}

fn kind_from_device_tree(compatible: &[String], model: &str) -> Option<BoardKind> {
    let text = format!("{} {model}", compatible.join(" ")).to_ascii_lowercase();
    // Module part numbers first: a model string such as "Orin NX Developer Kit" also names an Orin Nano's carrier.
    let table: &[(&str, BoardKind)] = &[
        ("p3448", BoardKind::JetsonNano),
        ("p3834", BoardKind::JetsonThor),
        ("p3701", BoardKind::JetsonAgxOrin),
        ("p3767-0003", BoardKind::JetsonOrinNano),
        ("p3767-0004", BoardKind::JetsonOrinNano),
        ("p3767-0005", BoardKind::JetsonOrinNano),
        ("orin nano", BoardKind::JetsonOrinNano),
        ("p3767", BoardKind::JetsonOrinNx),
        ("p2888", BoardKind::JetsonAgxXavier),
        ("p3668", BoardKind::JetsonXavierNx),
        ("p3636", BoardKind::JetsonTx2Nx),
        ("p3310", BoardKind::JetsonTx2),
        ("p3489", BoardKind::JetsonTx2),
        ("p2180", BoardKind::JetsonTx1),
        ("jetson-nano", BoardKind::JetsonNano),
        ("jetson nano", BoardKind::JetsonNano),
        ("orin nx", BoardKind::JetsonOrinNx),
        ("agx orin", BoardKind::JetsonAgxOrin),
        ("agx thor", BoardKind::JetsonThor),
        ("xavier nx", BoardKind::JetsonXavierNx),
        ("xavier", BoardKind::JetsonAgxXavier),
        ("tx2 nx", BoardKind::JetsonTx2Nx),
        ("quill", BoardKind::JetsonTx2),
        ("jetson_tx1", BoardKind::JetsonTx1),
        ("tegra264", BoardKind::JetsonThor),
        ("tegra234", BoardKind::JetsonAgxOrin),
        ("tegra194", BoardKind::JetsonAgxXavier),
        ("tegra186", BoardKind::JetsonTx2),
        ("tegra210", BoardKind::JetsonNano),
        ("raspberrypi,400", BoardKind::RaspberryPi400),
        ("raspberry pi 400", BoardKind::RaspberryPi400),
        ("raspberrypi,model-zero-2", BoardKind::RaspberryPiZero2),
        ("raspberry pi zero 2", BoardKind::RaspberryPiZero2),
        ("raspberry pi zero", BoardKind::RaspberryPiZero),
        ("raspberry pi compute module 5", BoardKind::RaspberryPi5),
        ("raspberry pi compute module 4", BoardKind::RaspberryPi4),
        ("raspberry pi compute module 3", BoardKind::RaspberryPi3),
        ("raspberry pi 500", BoardKind::RaspberryPi5),
        ("raspberry pi 5", BoardKind::RaspberryPi5),
        ("raspberry pi 4", BoardKind::RaspberryPi4),
        ("raspberry pi 3", BoardKind::RaspberryPi3),
        ("raspberry pi 2", BoardKind::RaspberryPi2),
        ("raspberry pi model", BoardKind::RaspberryPi1),
        ("raspberrypi,5", BoardKind::RaspberryPi5),
        ("raspberrypi,4", BoardKind::RaspberryPi4),
        ("raspberrypi,3", BoardKind::RaspberryPi3),
        ("raspberrypi,2", BoardKind::RaspberryPi2),
        ("bcm2712", BoardKind::RaspberryPi5),
        ("bcm2711", BoardKind::RaspberryPi4),
        ("bcm2837", BoardKind::RaspberryPi3),
        ("bcm2836", BoardKind::RaspberryPi2),
        ("tinker board", BoardKind::AsusTinkerBoard),
    ];
    table
        .iter()
        .find(|(mark, _)| text.contains(mark))
        .map(|&(_, kind)| kind)
}

/// A reComputer J1010 calls itself `NVIDIA Jetson Nano Developer Kit` as the kit does, but holds the module with eMMC.
/// Other carriers hold that module too, and nothing in the device tree tells those apart.
fn variant(compatible: &[String]) -> Option<&'static str> {
    const VARIANTS: [(&str, &str); 3] = [
        (
            "p3448-0000",
            "developer kit: module p3448-0000, with a slot for an SD card",
        ),
        (
            "p3448-0002",
            "no developer kit: module p3448-0002, with eMMC, as in the reComputer J1010",
        ),
        ("p3448-0003", "2 GB kit: module p3448-0003, without an INA3221"),
    ];
    let has = |part: &str| compatible.iter().any(|name| name.contains(part));
    VARIANTS.iter().find(|(part, _)| has(part)).map(|&(_, text)| text)
}

/// From the `Revision` code in `/proc/cpuinfo` (new style: bit 23 set, bits 4 to 11 the type).
fn kind_from_revision(cpuinfo: &str) -> Option<BoardKind> {
    let code = revision_code(cpuinfo)?;
    match (code >> 4) & 0xff {
        0x00..=0x03 => Some(BoardKind::RaspberryPi1),
        0x04 => Some(BoardKind::RaspberryPi2),
        0x08 | 0x0a | 0x0d | 0x0e | 0x10 => Some(BoardKind::RaspberryPi3),
        0x09 | 0x0c => Some(BoardKind::RaspberryPiZero),
        0x12 => Some(BoardKind::RaspberryPiZero2),
        0x11 | 0x14 => Some(BoardKind::RaspberryPi4),
        0x13 => Some(BoardKind::RaspberryPi400),
        0x17..=0x1a => Some(BoardKind::RaspberryPi5),
        _ => None,
    }
}

fn revision_code(cpuinfo: &str) -> Option<u32> {
    let code = u32::from_str_radix(&cpuinfo_field(cpuinfo, "Revision")?, 16).ok()?;
    (code & 1 << 23 != 0).then_some(code)
}

fn generic_kind(cpuinfo: &str) -> BoardKind {
    if cpuinfo_field(cpuinfo, "vendor_id").is_some() {
        BoardKind::GenericX86
    } else if cpuinfo_field(cpuinfo, "CPU implementer").is_some() {
        BoardKind::GenericArm
    } else if cfg!(any(target_arch = "x86_64", target_arch = "x86")) {
        BoardKind::GenericX86
    } else if cfg!(any(target_arch = "aarch64", target_arch = "arm")) {
        BoardKind::GenericArm
    } else {
        BoardKind::Generic
    }
}

fn revision_of(model: &str, cpuinfo: &str) -> Option<u8> {
    let from_model = model
        .rsplit_once("Rev ")
        .and_then(|(_, revision)| revision.split_once('.'))
        .and_then(|(_, minor)| minor.trim().parse().ok());
    from_model.or_else(|| revision_code(cpuinfo).map(|code| (code & 0xf) as u8))
}

fn soc_name(compatible: &[String], cpuinfo: &str) -> String {
    // The device tree lists the board first and the chip last: "raspberrypi,4-model-b", "brcm,bcm2711".
    if let Some((_, chip)) = compatible.last().and_then(|last| last.split_once(',')) {
        return chip.to_owned();
    }
    first_known([
        cpuinfo_field(cpuinfo, "model name").unwrap_or_default(),
        cpuinfo_field(cpuinfo, "Hardware").unwrap_or_default(),
    ])
}

/// 32-bit ARM kernels name the core ("ARMv7 Processor rev 3 (v7l)"); 64-bit ones do not.
fn is_64_bit(cpuinfo: &str) -> bool {
    !(cpuinfo.contains("ARMv6") || cpuinfo.contains("ARMv7") || cpuinfo.contains("(v7l)"))
}

fn dmi_model(root: &Root) -> String {
    let field = |name: &str| {
        root.read_text(format!("/sys/class/dmi/id/{name}"))
            .unwrap_or_default()
    };
    format!("{} {}", field("sys_vendor"), field("product_name"))
        .trim()
        .to_owned()
}

/// The value of a `Name : value` line of `/proc/cpuinfo`.
pub(crate) fn cpuinfo_field(cpuinfo: &str, name: &str) -> Option<String> {
    cpuinfo.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name && !value.trim().is_empty()).then(|| value.trim().to_owned())
    })
}

fn first_known<const N: usize>(candidates: [String; N]) -> String {
    candidates
        .into_iter()
        .find(|text| !text.is_empty())
        .unwrap_or_else(|| "unknown".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(compatible: &[&str], model: &str) -> Option<BoardKind> {
        let compatible: Vec<String> = compatible.iter().map(|s| s.to_string()).collect();
        kind_from_device_tree(&compatible, model)
    }

    #[test]
    fn jetsons_are_told_by_module_number() {
        use BoardKind::*;
        let nano = [
            "nvidia,p3449-0000-b00+p3448-0002-b00",
            "nvidia,jetson-nano",
            "nvidia,tegra210",
        ];
        assert_eq!(kind(&nano, "NVIDIA Jetson Nano Developer Kit"), Some(JetsonNano));
        let orin = [
            "nvidia,p3737-0000+p3701-0005",
            "nvidia,p3701-0005",
            "nvidia,tegra234",
        ];
        assert_eq!(
            kind(&orin, "NVIDIA Jetson AGX Orin Developer Kit"),
            Some(JetsonAgxOrin)
        );
        let orin_nano = [
            "nvidia,p3768-0000+p3767-0005",
            "nvidia,p3767-0005",
            "nvidia,tegra234",
        ];
        assert_eq!(
            kind(&orin_nano, "NVIDIA Jetson Orin Nano Developer Kit"),
            Some(JetsonOrinNano)
        );
        let orin_nx = [
            "nvidia,p3768-0000+p3767-0000",
            "nvidia,p3767-0000",
            "nvidia,tegra234",
        ];
        assert_eq!(kind(&orin_nx, "NVIDIA Orin NX Developer Kit"), Some(JetsonOrinNx));
        let thor = [
            "nvidia,p4071-0000+p3834-0008",
            "nvidia,p3834-0008",
            "nvidia,tegra264",
        ];
        assert_eq!(
            kind(&thor, "NVIDIA Jetson AGX Thor Developer Kit"),
            Some(JetsonThor)
        );
        assert_eq!(kind(&[], "jetson_tx1"), Some(JetsonTx1));
        assert_eq!(kind(&["acme,box"], "Acme Box"), None);
    }

    #[test]
    fn a_j1010_is_told_from_the_developer_kit_by_its_module() {
        let variant_of = |name: &str| variant(&[name.to_owned(), "nvidia,jetson-nano".to_owned()]);
        let j1010 = variant_of("nvidia,p3449-0000-b00+p3448-0002-b00").unwrap();
        assert!(
            j1010.contains("J1010") && j1010.starts_with("no developer kit"),
            "{j1010}"
        );
        let kit = variant_of("nvidia,p3449-0000-b00+p3448-0000-b00").unwrap();
        assert!(kit.starts_with("developer kit"), "{kit}");
        assert!(variant_of("nvidia,p3542-0000+p3448-0003").is_some_and(|text| text.contains("2 GB")));
        assert_eq!(variant_of("nvidia,p3768-0000+p3767-0005"), None);
    }

    #[test]
    fn raspberry_pis_are_told_by_model_or_revision_code() {
        use BoardKind::*;
        let pi4 = ["raspberrypi,4-model-b", "brcm,bcm2711"];
        assert_eq!(kind(&pi4, "Raspberry Pi 4 Model B Rev 1.2"), Some(RaspberryPi4));
        assert_eq!(
            kind(&["raspberrypi,400", "brcm,bcm2711"], "Raspberry Pi 400 Rev 1.0"),
            Some(RaspberryPi400)
        );
        assert_eq!(
            kind(&["raspberrypi,5-model-b", "brcm,bcm2712"], ""),
            Some(RaspberryPi5)
        );
        assert_eq!(kind_from_revision("Revision\t: c03112\n"), Some(RaspberryPi4));
        assert_eq!(kind_from_revision("Revision\t: c04170\n"), Some(RaspberryPi5));
        assert_eq!(kind_from_revision("Revision\t: 0010\n"), None);
        assert_eq!(revision_of("Raspberry Pi 4 Model B Rev 1.4", ""), Some(4));
        assert_eq!(revision_of("", "Revision : c03112"), Some(2));
    }

    #[test]
    fn word_size_follows_the_kernel() {
        assert!(!is_64_bit("model name\t: ARMv7 Processor rev 3 (v7l)"));
        assert!(is_64_bit("CPU implementer\t: 0x41"));
    }
}
