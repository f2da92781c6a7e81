use super::*;
use proptest::prelude::*;

fn config(url: &str) -> Config {
    url.parse().unwrap()
}

#[test]
fn the_urls_of_the_manual_mean_what_they_say() {
    let tcp = config("tcp://meter.local:1502?meter=sdm630&unit=7");
    assert_eq!(
        tcp.address,
        Address::Tcp {
            host: "meter.local".into(),
            port: 1502
        }
    );
    assert_eq!(
        (tcp.meter.name, tcp.unit, tcp.fields[0].register),
        ("sdm630", 7, 0x34)
    );

    let rtu = config("rtu:///dev/ttyUSB0?meter=pzem-017&unit=1&baud=19200&parity=even&stop=1&timeout=0.3");
    assert_eq!(
        rtu.address,
        Address::Rtu {
            device: "/dev/ttyUSB0".into()
        }
    );
    assert_eq!(
        (rtu.meter.line.baud, rtu.meter.line.parity, rtu.meter.line.stop),
        (19200, Parity::Even, 1)
    );
    assert_eq!(rtu.timeout_s, 0.3);

    assert_eq!(
        config("tcp://h?meter=umg").address,
        Address::Tcp {
            host: "h".into(),
            port: 502
        }
    );
    assert_eq!(
        config("tcp://[::1]:5020?meter=umg").address,
        Address::Tcp {
            host: "::1".into(),
            port: 5020
        }
    );
    assert_eq!(config("rtu:///dev/x?meter=pzem-003").meter.line.stop, 2);
    assert_eq!(config("rtu:///dev/x?meter=sdm120").meter.line.baud, 2400);
}

#[test]
fn everything_about_a_custom_meter_can_be_said() {
    let config = config(
        "tcp://h?meter=custom&register=0x2012&function=3&type=i32&words=low-first&scale=0.1&max=50&class=0.5&update=2",
    );
    assert_eq!(
        config.fields,
        [Field {
            rail: "total",
            register: 0x2012
        }]
    );
    let format = config.meter.format;
    assert_eq!((format.function, format.number), (Function::Holding, Number::I32));
    assert_eq!(
        (format.words, format.scale, config.meter.step_w),
        (WordOrder::LowFirst, 0.1, 0.1)
    );
    assert_eq!(
        (config.meter.max_w, config.meter.class, config.meter.update_s),
        (50.0, 0.5, 2.0)
    );
}

#[test]
fn rails_are_chosen_by_name() {
    let fields = config("tcp://h?meter=shelly-pro-3em&rails=l2,total").fields;
    assert_eq!(
        fields.iter().map(|f| f.register).collect::<Vec<_>>(),
        [1044, 1013]
    );
}

#[test]
fn mistakes_are_named() {
    for (url, word) in [
        ("", "tcp://HOST:PORT"),
        ("udp://h?meter=umg", "tcp://HOST:PORT"),
        ("tcp://?meter=umg", "name a host"),
        ("tcp://h:0x1F6?meter=umg", "not a port"),
        ("tcp://::1?meter=umg", "brackets"),
        ("rtu://ttyUSB0?meter=umg", "whole path"),
        ("tcp://h", "say which meter"),
        (
            "tcp://h?meter=sdm6300",
            "there is no meter sdm6300; meter= one of sdm120",
        ),
        ("tcp://h?meter=umg&unit=300", "unit=300: a number from 0 to 255"),
        ("rtu:///dev/x?meter=umg&unit=0", "from 1 to 247"),
        ("tcp://h?meter=umg&baud=9600", "serial line"),
        ("rtu:///dev/x?meter=umg&parity=mark", "none, even, odd"),
        ("rtu:///dev/x?meter=umg&stop=3", "from 1 to 2"),
        ("tcp://h?meter=umg&register=1", "belongs to meter=custom"),
        ("tcp://h?meter=custom", "needs register="),
        ("tcp://h?meter=custom&register=70000", "0 to 65535"),
        ("tcp://h?meter=custom&register=1&type=f64", "one of u16"),
        ("tcp://h?meter=custom&register=1&scale=0", "not zero"),
        ("tcp://h?meter=custom&register=1&scale=NaN", "a number"),
        ("tcp://h?meter=umg&max=-5", "above 0"),
        ("tcp://h?meter=umg&timeout=1e9", "at most 60"),
        ("tcp://h?meter=umg&rails=l9", "total, l1, l2, l3"),
        ("tcp://h?meter=umg&rails=l1,l1", "twice"),
        ("tcp://h?meter=umg&unit=1&unit=2", "twice"),
        ("tcp://h?meter=umg&units=1", "no parameter units"),
        ("tcp://h?meter=umg&fast", "KEY=VALUE"),
    ] {
        let error = url.parse::<Config>().unwrap_err().to_string();
        assert!(error.contains(word) && error.contains(url), "{url}: {error}");
    }
}

proptest! {
    #[test]
    fn no_text_panics(text in ".{0,60}", host in "[a-z0-9:/\\[\\]]{0,12}", query in "[a-z0-9=&.,x-]{0,40}") {
        let _ = text.parse::<Config>();
        let _ = format!("tcp://{host}?meter=custom&{query}").parse::<Config>();
    }
}
