//! Follows the packets that pass in one direction, without keeping their bytes: how many there are and how large.

/// What is wrong with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadPacket {
    #[error("a packet of {0} bytes is too large")]
    TooLarge(u32),
    #[error("its length is none")]
    Length,
}

/// Where in the stream of packets we are.
#[derive(Debug)]
pub(super) struct Packets {
    largest: u32,
    at: At,
    has_ended: bool,
}

/// The type of a packet, in the upper four bits of its first byte, by which a client says goodbye.
const DISCONNECT: u8 = 14;

#[derive(Debug)]
enum At {
    /// The next byte begins a packet.
    Start,
    /// The next byte belongs to the length (MQTT 3.1.1, 2.2.3); so far it is this, from this many bytes.
    Length { so_far: u32, bytes: u32 },
    /// So many bytes are left of the packet.
    Body(u32),
}

impl Packets {
    pub fn new(largest: u32) -> Self {
        Self {
            largest,
            at: At::Start,
            has_ended: false,
        }
    }

    /// Has the client said goodbye? Nothing may follow that.
    pub fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// From here on packets may be so large.
    pub fn allow(&mut self, largest: u32) {
        self.largest = largest;
    }

    /// Bytes pass; says how many packets began in them. After an error nothing that follows makes sense.
    pub fn pass(&mut self, mut bytes: &[u8]) -> Result<u32, BadPacket> {
        let mut begun = 0;
        while let Some((&first, rest)) = bytes.split_first() {
            match self.at {
                At::Start => {
                    begun += 1;
                    self.has_ended |= first >> 4 == DISCONNECT;
                    self.at = At::Length { so_far: 0, bytes: 0 };
                    bytes = rest;
                }
                At::Length { so_far, bytes: read } => {
                    self.at = self.length(so_far, read, first)?;
                    bytes = rest;
                }
                At::Body(left) => {
                    let here = (left as usize).min(bytes.len());
                    bytes = &bytes[here..];
                    self.at = match left - here as u32 {
                        0 => At::Start,
                        left => At::Body(left),
                    };
                }
            }
        }
        Ok(begun)
    }

    /// Seven bits a byte, the lowest first; the eighth says that more follow.
    fn length(&self, so_far: u32, read: u32, byte: u8) -> Result<At, BadPacket> {
        let length = so_far | u32::from(byte & 0x7F) << (7 * read);
        if byte & 0x80 == 0 {
            return match length {
                0 => Ok(At::Start),
                length if length > self.largest => Err(BadPacket::TooLarge(length)),
                length => Ok(At::Body(length)),
            };
        }
        if read == 3 {
            return Err(BadPacket::Length);
        }
        Ok(At::Length {
            so_far: length,
            bytes: read + 1,
        })
    }
}

/// What the first bytes of a connection are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hello {
    /// Too few to tell.
    More,
    /// A CONNECT of MQTT 3.1.1.
    Mqtt311,
    /// One of another version of MQTT.
    OtherVersion,
    /// Something else.
    Foreign,
}

/// No more bytes than these are looked at.
pub(super) const HELLO_BYTES: usize = 12;

/// Looks at the first bytes of a connection.
pub(super) fn hello(bytes: &[u8]) -> Hello {
    const CONNECT: u8 = 0x10;
    const NAME: [u8; 6] = [0, 4, b'M', b'Q', b'T', b'T'];
    // Of MQTT 3.1; it has the same answer to one whose version it does not speak.
    const OLD_NAME: [u8; 6] = [0, 6, b'M', b'Q', b'I', b's'];
    let Some((&first, rest)) = bytes.split_first() else {
        return Hello::More;
    };
    if first != CONNECT {
        return Hello::Foreign;
    }
    let Some(length_bytes) = rest.iter().take(4).position(|byte| byte & 0x80 == 0) else {
        return if rest.len() < 4 {
            Hello::More
        } else {
            Hello::Foreign
        };
    };
    let body = &rest[length_bytes + 1..];
    let begins = |name: &[u8; 6]| body.iter().zip(name).all(|(a, b)| a == b);
    if !begins(&NAME) && !begins(&OLD_NAME) {
        return Hello::Foreign;
    }
    match body.get(6) {
        None => Hello::More,
        Some(4) if begins(&NAME) => Hello::Mqtt311,
        Some(_) => Hello::OtherVersion,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PING: [u8; 2] = [0xC0, 0];

    fn packet(body: usize) -> Vec<u8> {
        let mut packet = vec![0x30];
        let mut left = body;
        while left >= 0x80 {
            packet.push(left as u8 | 0x80);
            left >>= 7;
        }
        packet.push(left as u8);
        packet.resize(packet.len() + body, 0xFF);
        packet
    }

    proptest! {
        #[test]
        fn packets_are_counted_however_they_are_cut(
            bodies in prop::collection::vec(0..40_000_usize, 0..8),
            cuts in prop::collection::vec(1..9_000_usize, 1..4),
        ) {
            let stream: Vec<u8> = bodies.iter().flat_map(|&body| packet(body)).collect();
            let mut packets = Packets::new(40_000);
            let (mut begun, mut rest) = (0, &stream[..]);
            for cut in cuts.into_iter().cycle() {
                let (piece, later) = rest.split_at(cut.min(rest.len()));
                begun += packets.pass(piece).unwrap();
                rest = later;
                if rest.is_empty() {
                    break;
                }
            }
            prop_assert_eq!(begun as usize, bodies.len());
            prop_assert!(matches!(packets.at, At::Start));
        }

        #[test]
        fn whatever_comes_is_survived(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = Packets::new(1 << 20).pass(&bytes);
            hello(&bytes);
        }
    }

    #[test]
    fn a_packet_is_refused_by_its_length_before_it_comes() {
        let mut packets = Packets::new(100);
        assert_eq!(packets.pass(&packet(100)), Ok(1));
        assert_eq!(packets.pass(&packet(101)[..2]), Err(BadPacket::TooLarge(101)));
        packets = Packets::new(100);
        packets.allow(200);
        assert_eq!(packets.pass(&[packet(200), PING.to_vec()].concat()), Ok(2));
        assert!(!packets.has_ended());
        assert_eq!(packets.pass(&[0xE0, 0]), Ok(1));
        assert!(packets.has_ended());
        assert_eq!(
            packets.pass(&[0x30, 0xFF, 0xFF, 0xFF, 0xFF]),
            Err(BadPacket::Length)
        );
    }

    #[test]
    fn only_mqtt_3_1_1_is_welcome() {
        let connect = b"\x10\x10\x00\x04MQTT\x04\x02\x00\x3C\x00\x04abcd";
        assert_eq!(hello(connect), Hello::Mqtt311);
        for end in 0..connect.len() {
            let expected = if end < 9 { Hello::More } else { Hello::Mqtt311 };
            assert_eq!(hello(&connect[..end]), expected, "{end}");
        }
        assert_eq!(hello(b"\x10\x90\x90\x90\x01\x00\x04MQTT\x04"), Hello::Mqtt311);
        assert_eq!(hello(b"\x10\x10\x00\x04MQTT\x05"), Hello::OtherVersion);
        assert_eq!(hello(b"\x10\x10\x00\x06MQIsdp\x03"), Hello::OtherVersion);
        for foreign in [
            &b"GET / HTTP/1.1"[..],
            b"\x16\x03\x01\x02\x00",
            b"\x10\x80\x80\x80\x80",
            b"\x10\x02XY",
            b"\xC0\x00",
        ] {
            assert_eq!(hello(foreign), Hello::Foreign, "{foreign:?}");
        }
    }
}
