//! Register maps as data: where each meter keeps its power, and how it likes to be asked.
//!
//! Addresses are those on the wire (from 0). Sources: Eastron SDM manuals, PZEM data sheets and the PZEM-004T-v30
//! library, Shelly's component documentation and Victron's production client, Carlo Gavazzi, Schneider and Janitza
//! register lists as the mbmd project uses them. Serial defaults of EM24, EM340 and iEM3xxx and the refresh rates
//! marked "assumed" are stated in none of them; the URL overrides every one of these figures.

use super::codec::{Function, Number, WordOrder};

/// One power register.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Field {
    /// The rail's name: `total`, `l1` ... or `ch1` ...
    pub rail: &'static str,
    /// Its first register.
    pub register: u16,
}

/// How a power is stored.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Format {
    /// Function code to read it with.
    pub function: Function,
    /// Width and type.
    pub number: Number,
    /// Which half of a 32-bit value comes first.
    pub words: WordOrder,
    /// Watts per unit.
    pub scale: f64,
}

/// Parity of a serial line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parity {
    /// No parity bit.
    None,
    /// Even.
    Even,
    /// Odd.
    Odd,
}

/// Settings of a serial line; always eight data bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    /// Bits per second.
    pub baud: u32,
    /// Parity.
    pub parity: Parity,
    /// Stop bits: 1 or 2.
    pub stop: u8,
}

/// What is known about a meter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Meter {
    /// Its name in a URL.
    pub name: &'static str,
    /// How its powers are stored.
    pub format: Format,
    /// Its powers; the first one is read unless the user chooses rails.
    pub fields: &'static [Field],
    /// First register and count, for meters that expect to be read as one block.
    pub block: Option<(u16, u16)>,
    /// Factory settings of its serial line.
    pub line: Line,
    /// Seconds between two new values; requests are sent at most twice as often.
    pub update_s: f64,
    /// Watts beyond its measuring range: a value above is a transmission error.
    pub max_w: f64,
    /// Class of accuracy, in percent.
    pub class: f64,
    /// Step of its power, in watts; 0 where it sends a float.
    pub step_w: f64,
}

const fn line(baud: u32, parity: Parity, stop: u8) -> Line {
    Line { baud, parity, stop }
}

const fn format(function: Function, number: Number, words: WordOrder, scale: f64) -> Format {
    Format {
        function,
        number,
        words,
        scale,
    }
}

const fn field(rail: &'static str, register: u16) -> Field {
    Field { rail, register }
}

const LINE_9600: Line = line(9600, Parity::None, 1);
const EASTRON: Format = format(Function::Input, Number::F32, WordOrder::HighFirst, 1.0);
const PZEM: Format = format(Function::Input, Number::U32, WordOrder::LowFirst, 0.1);
const SHELLY: Format = format(Function::Input, Number::F32, WordOrder::LowFirst, 1.0);
const GAVAZZI: Format = format(Function::Input, Number::I32, WordOrder::LowFirst, 0.1);
const SCHNEIDER: Format = format(Function::Holding, Number::F32, WordOrder::HighFirst, 1000.0);
const JANITZA: Format = format(Function::Holding, Number::F32, WordOrder::HighFirst, 1.0);

const SINGLE_PHASE: &[Field] = &[field("total", 0x0C)];
const THREE_PHASES: &[Field] = &[
    field("total", 0x34),
    field("l1", 0x0C),
    field("l2", 0x0E),
    field("l3", 0x10),
];
const GAVAZZI_FIELDS: &[Field] = &[
    field("total", 0x28),
    field("l1", 0x12),
    field("l2", 0x14),
    field("l3", 0x16),
];

/// An Eastron with one phase; the others differ from it in a few figures.
const SDM230: Meter = Meter {
    name: "sdm230",
    format: EASTRON,
    fields: SINGLE_PHASE,
    block: None,
    line: LINE_9600,
    update_s: 1.0,
    max_w: 30e3,
    class: 1.0,
    step_w: 0.0,
};

/// The meter `custom`: everything but the register comes from here unless the URL says otherwise.
pub const CUSTOM: Meter = Meter {
    name: "custom",
    fields: &[],
    max_w: 1e6,
    ..SDM230
};

const PZEM_016: Meter = Meter {
    name: "pzem-016",
    format: PZEM,
    fields: &[field("total", 3)],
    block: Some((0, 10)),
    max_w: 25e3,
    class: 0.5,
    step_w: 0.1,
    ..SDM230
};

const PZEM_017: Meter = Meter {
    name: "pzem-017",
    format: PZEM,
    fields: &[field("total", 2)],
    block: Some((0, 8)),
    line: line(9600, Parity::None, 2),
    max_w: 90e3,
    class: 1.0,
    step_w: 0.1,
    ..SDM230
};

const EM340: Meter = Meter {
    name: "em340",
    format: GAVAZZI,
    fields: GAVAZZI_FIELDS,
    max_w: 100e3,
    step_w: 0.1,
    ..SDM230
};

/// All meters known by name.
pub const METERS: &[Meter] = &[
    Meter {
        name: "sdm120",
        line: line(2400, Parity::None, 1),
        max_w: 15e3,
        ..SDM230
    },
    SDM230,
    Meter {
        name: "sdm630",
        fields: THREE_PHASES,
        max_w: 100e3,
        ..SDM230
    },
    // Reported to reboot when requests follow each other by less than half a second: one request a second.
    Meter {
        name: "sdm72",
        fields: &[field("total", 0x34)],
        update_s: 2.0,
        max_w: 100e3,
        ..SDM230
    },
    Meter {
        name: "pzem-004t",
        ..PZEM_016
    },
    PZEM_016,
    Meter {
        name: "pzem-003",
        max_w: 4e3,
        ..PZEM_017
    },
    PZEM_017,
    Meter {
        name: "shelly-pro-3em",
        format: SHELLY,
        fields: &[
            field("total", 1013),
            field("l1", 1024),
            field("l2", 1044),
            field("l3", 1064),
        ],
        max_w: 350e3,
        ..SDM230
    },
    Meter {
        name: "shelly-em1",
        format: SHELLY,
        fields: &[field("ch1", 2007), field("ch2", 2027), field("ch3", 2047)],
        max_w: 100e3,
        ..SDM230
    },
    Meter {
        name: "em24",
        ..EM340
    },
    EM340,
    Meter {
        name: "iem3xxx",
        format: SCHNEIDER,
        fields: &[
            field("total", 0x0BF3),
            field("l1", 0x0BED),
            field("l2", 0x0BEF),
            field("l3", 0x0BF1),
        ],
        line: line(19200, Parity::Even, 1),
        max_w: 10e6,
        ..SDM230
    },
    // A new value per measuring window of 200 ms.
    Meter {
        name: "umg",
        format: JANITZA,
        fields: &[
            field("total", 19026),
            field("l1", 19020),
            field("l2", 19022),
            field("l3", 19024),
        ],
        update_s: 0.2,
        max_w: 10e6,
        class: 0.5,
        ..SDM230
    },
];

/// The meter of this name; `custom` is one.
pub fn find(name: &str) -> Option<&'static Meter> {
    METERS.iter().chain([&CUSTOM]).find(|meter| meter.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_meter_of_the_list_is_known_once_and_complete() {
        let known: Vec<&str> = METERS.iter().map(|meter| meter.name).collect();
        let names = "sdm120 sdm230 sdm630 sdm72 pzem-004t pzem-016 pzem-003 pzem-017 shelly-pro-3em shelly-em1 em24 \
                     em340 iem3xxx umg";
        assert_eq!(known.join(" "), names);
        for meter in METERS {
            assert!(
                !meter.fields.is_empty() && meter.max_w > 0.0 && meter.class > 0.0,
                "{meter:?}"
            );
            let width = meter.format.number.words();
            let Some((start, count)) = meter.block else {
                continue;
            };
            assert!(
                meter
                    .fields
                    .iter()
                    .all(|f| f.register >= start && f.register + width <= start + count)
            );
        }
        assert_eq!(find("custom"), Some(&CUSTOM));
        assert_eq!(find("sdm"), None);
    }
}
