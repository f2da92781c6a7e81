//! What is no MQTT, or a strange one.

use crate::open;
use crate::peer::{Peer, options};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Says something and hears what comes until the other side closes.
fn say(to: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(to).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    // It may be closed before all of it is sent.
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    let mut piece = [0; 64];
    while let Ok(read @ 1..) = stream.read(&mut piece) {
        answer.extend_from_slice(&piece[..read]);
    }
    answer
}

#[tokio::test]
async fn garbage_is_counted_and_does_no_harm() {
    let broker = open();
    let mut device = Peer::connect(options(broker.address(), "pi")).await.unwrap();
    assert!(device.subscribe("client/pi/#").await);
    let to = broker.address();
    let foreign = [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        &[0xFF; 4096],
        b"\x16\x03\x01\x02\x00\x01",
        b"\x10\x02XYZ",
        b"\x10",
    ];
    for bytes in &foreign[..4] {
        assert_eq!(say(to, bytes), b"", "{bytes:?}");
    }
    // A client of MQTT 5 is told which version would do.
    assert_eq!(
        say(to, b"\x10\x11\x00\x04MQTT\x05\x02\x00\x3C\x00\x00\x04abcd"),
        [0x20, 2, 0, 1]
    );
    // A CONNECT that is none after its first bytes, and packets that nobody sends to a broker.
    say(to, b"\x10\x10\x00\x04MQTT\x04\xFF\xFF\xFF\xFF\xFFabcd");
    let connect = b"\x10\x10\x00\x04MQTT\x04\x02\x00\x3C\x00\x04abcd";
    for strange in [
        &b"\x00\x00"[..],
        b"\xF0\x00",
        b"\x20\x02\x00\x00",
        b"\x30\x02\xFF\xFF",
        b"\x82\x00",
        b"\x32\x05\x00\x01a\x00\x00",
    ] {
        say(to, &[connect, strange].concat());
    }
    let counts = broker.counts();
    assert_eq!((counts.foreign, counts.other_version), (4, 1), "{counts}");
    device
        .publish("client/pi/status/dqn/v1", "still here", false)
        .await;
    assert_eq!(device.message().await.1, "still here");
}
