//! The URL of a Modbus meter: `tcp://HOST:PORT?meter=sdm630&unit=1` or `rtu:///dev/ttyUSB0?meter=pzem-017&baud=9600`.
//!
//! | parameter | meaning | default |
//! |---|---|---|
//! | `meter` | a name of [`super::meters::METERS`], or `custom` | none: required |
//! | `unit` | unit id, 1 to 247 (0 to 255 over TCP, where gateways use them all) | 1 |
//! | `rails` | which powers to read, with commas: `total,l1,l2,l3`, `ch1,ch2` | the meter's first |
//! | `baud`, `parity`, `stop` | serial line (RTU only); parity is `none`, `even` or `odd` | the meter's |
//! | `timeout` | seconds a sample may take, connecting included | 1 |
//! | `update` | seconds between two new values; asked at most twice as often | the meter's |
//! | `max` | watts beyond which a value is a transmission error | the meter's range |
//! | `class` | class of accuracy in percent | the meter's |
//! | `words` | `high-first` or `low-first` | the meter's |
//! | `register` | decimal or `0x` hexadecimal, as on the wire (from 0); `custom` only | none: required |
//! | `function` | 3 (holding) or 4 (input); `custom` only | 4 |
//! | `type` | `u16`, `i16`, `u32`, `i32`, `f32`; `custom` only | `f32` |
//! | `scale` | watts per unit; `custom` only | 1 |

use super::codec::{Function, Number, WordOrder};
use super::meters::{CUSTOM, Field, METERS, Meter, Parity, find};
use super::query::Query;
use crate::error::{Error, Result};
use std::str::FromStr;

/// How the meter is reached.
#[derive(Clone, Debug, PartialEq)]
pub enum Address {
    /// Modbus TCP.
    Tcp {
        /// Name or address, without brackets.
        host: String,
        /// Port.
        port: u16,
    },
    /// Modbus RTU on a serial device.
    Rtu {
        /// Path of the device below the root.
        device: String,
    },
}

/// All that a URL says, defaults filled in.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// How the meter is reached.
    pub address: Address,
    /// The meter, overridden where the URL says so.
    pub meter: Meter,
    /// The powers to read.
    pub fields: Vec<Field>,
    /// Unit id.
    pub unit: u8,
    /// Seconds a sample may take.
    pub timeout_s: f64,
}

const DEFAULT_PORT: u16 = 502;
const DEFAULT_TIMEOUT_S: f64 = 1.0;

impl FromStr for Config {
    type Err = Error;

    fn from_str(url: &str) -> Result<Self> {
        parse(url).map_err(|why| Error::unsupported(format!("sensor modbus:{url}"), why))
    }
}

fn parse(url: &str) -> std::result::Result<Config, String> {
    let (location, query) = url.split_once('?').unwrap_or((url, ""));
    let address = parse_address(location)?;
    let mut query = Query::parse(query)?;
    let name = query
        .take("meter")
        .ok_or_else(|| format!("say which meter it is: {}", known_meters()))?;
    let mut meter = *find(name).ok_or_else(|| format!("there is no meter {name}; {}", known_meters()))?;

    let mut fields = match name == CUSTOM.name {
        true => vec![custom_field(&mut meter, &mut query)?],
        false => vec![meter.fields[0]],
    };
    if let Some(rails) = query.take("rails") {
        fields = choose_rails(
            rails,
            if meter.fields.is_empty() {
                &fields
            } else {
                meter.fields
            },
        )?;
    }
    if let Address::Rtu { .. } = address {
        meter.line.baud = query.number("baud", 50..=4_000_000)?.unwrap_or(meter.line.baud);
        meter.line.stop = query.number("stop", 1..=2)?.unwrap_or(meter.line.stop);
        let parities = [
            ("none", Parity::None),
            ("even", Parity::Even),
            ("odd", Parity::Odd),
        ];
        meter.line.parity = query.choice("parity", &parities)?.unwrap_or(meter.line.parity);
    }
    let orders = [
        ("high-first", WordOrder::HighFirst),
        ("low-first", WordOrder::LowFirst),
    ];
    meter.format.words = query.choice("words", &orders)?.unwrap_or(meter.format.words);
    meter.update_s = query.positive("update")?.unwrap_or(meter.update_s);
    meter.max_w = query.positive("max")?.unwrap_or(meter.max_w);
    meter.class = query.positive("class")?.unwrap_or(meter.class);
    let units = if matches!(address, Address::Tcp { .. }) {
        0..=255
    } else {
        1..=247
    };
    let unit = query.number("unit", units)?.unwrap_or(1);
    let timeout_s = query.positive("timeout")?.unwrap_or(DEFAULT_TIMEOUT_S);
    if timeout_s > 60.0 {
        return Err("timeout: at most 60 seconds".to_owned());
    }
    query.finish(&address)?;
    Ok(Config {
        address,
        meter,
        fields,
        unit,
        timeout_s,
    })
}

fn known_meters() -> String {
    let names: Vec<&str> = METERS.iter().map(|meter| meter.name).collect();
    format!("meter= one of {}, custom", names.join(", "))
}

fn parse_address(location: &str) -> std::result::Result<Address, String> {
    if let Some(device) = location.strip_prefix("rtu://") {
        return match device.starts_with('/') {
            true => Ok(Address::Rtu {
                device: device.to_owned(),
            }),
            false => Err("name the serial device with its whole path: rtu:///dev/ttyUSB0".to_owned()),
        };
    }
    let Some(authority) = location.strip_prefix("tcp://") else {
        return Err("it begins with tcp://HOST:PORT or rtu:///dev/DEVICE".to_owned());
    };
    let authority = authority.trim_end_matches('/');
    let (host, port) = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, "")) => (host, None),
        Some((host, port)) => (host, Some(port.strip_prefix(':').unwrap_or(port))),
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    let port = match port {
        Some(port) => port.parse().map_err(|_| {
            format!("{port:?} is not a port number (an IPv6 address goes in brackets: tcp://[::1]:502)")
        })?,
        None => DEFAULT_PORT,
    };
    if host.is_empty() || host.contains('/') {
        return Err("name a host: tcp://HOST:PORT".to_owned());
    }
    Ok(Address::Tcp {
        host: host.to_owned(),
        port,
    })
}

/// The register of `meter=custom`, and its format.
fn custom_field(meter: &mut Meter, query: &mut Query<'_>) -> std::result::Result<Field, String> {
    let text = query
        .take("register")
        .ok_or("meter=custom needs register=, such as register=0x34")?;
    let register = match text.strip_prefix("0x") {
        Some(digits) => u16::from_str_radix(digits, 16),
        None => text.parse(),
    };
    let register =
        register.map_err(|_| format!("register={text}: a number from 0 to 65535, or 0x and hexadecimal"))?;
    let functions = [("3", Function::Holding), ("4", Function::Input)];
    let numbers = [
        ("u16", Number::U16),
        ("i16", Number::I16),
        ("u32", Number::U32),
        ("i32", Number::I32),
        ("f32", Number::F32),
    ];
    let format = &mut meter.format;
    format.function = query.choice("function", &functions)?.unwrap_or(format.function);
    format.number = query.choice("type", &numbers)?.unwrap_or(format.number);
    format.scale = query.finite("scale")?.unwrap_or(format.scale);
    if format.scale == 0.0 {
        return Err("scale: watts per unit, not zero".to_owned());
    }
    if format.number != Number::F32 {
        meter.step_w = format.scale.abs();
    }
    Ok(Field {
        rail: "total",
        register,
    })
}

fn choose_rails(names: &str, known: &[Field]) -> std::result::Result<Vec<Field>, String> {
    let mut chosen: Vec<Field> = Vec::new();
    for name in names.split(',') {
        let field = known.iter().find(|field| field.rail == name).ok_or_else(|| {
            let known: Vec<&str> = known.iter().map(|field| field.rail).collect();
            format!("rails={names}: this meter has {}", known.join(", "))
        })?;
        if chosen.contains(field) {
            return Err(format!("rails={names}: {name} stands there twice"));
        }
        chosen.push(*field);
    }
    Ok(chosen)
}

#[cfg(test)]
#[path = "url_tests.rs"]
mod tests;
