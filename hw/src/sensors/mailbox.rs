//! The property mailbox of a Raspberry Pi's firmware: one text command, one text answer.
//!
//! `ioctl(/dev/vcio, _IOWR(100, 0, char *), message)`, from `drivers/char/broadcom/vcio.c` of `raspberrypi/linux`.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

/// Text that fits into a message, command and answer alike. The firmware's own tools use the same size.
const TEXT_BYTES: usize = 1024;
const TEXT_WORDS: usize = TEXT_BYTES / 4;
const TAG_GENCMD: u32 = 0x0003_0080;
/// Set by the firmware in the second word when it has answered.
const ANSWERED: u32 = 0x8000_0000;

/// A message of the property mailbox with one tag: size, code, tag, room, length, then (the tag's value) an error
/// number and text, and a zero that ends it.
pub(super) struct Message([u32; 7 + TEXT_WORDS]);

impl Default for Message {
    fn default() -> Self {
        Self([0; 7 + TEXT_WORDS])
    }
}

impl Message {
    /// Makes it a question.
    pub fn ask(&mut self, command: &str) {
        self.0.fill(0);
        let size = size_of_val(&self.0) as u32;
        self.0[..4].copy_from_slice(&[size, 0, TAG_GENCMD, TEXT_BYTES as u32]);
        for (i, byte) in command.bytes().take(TEXT_BYTES - 1).enumerate() {
            self.0[6 + i / 4] |= u32::from(byte) << (8 * (i % 4));
        }
    }

    /// Sends it and waits for the firmware.
    pub fn send(&mut self, file: &File) -> io::Result<()> {
        // SAFETY: the driver reads and writes at most as many bytes as the first word says: the size of the array.
        let result = unsafe { libc::ioctl(file.as_raw_fd(), request() as _, self.0.as_mut_ptr()) };
        if result < 0 {
            Err(io::Error::last_os_error())
        } else {
            Ok(())
        }
    }

    /// The text, if the firmware has answered and without an error number.
    pub fn answer(&self) -> Option<String> {
        (self.0[1] == ANSWERED && self.0[5] == 0).then(|| String::from_utf8_lossy(self.text()).into_owned())
    }

    /// The text up to its NUL.
    pub fn text(&self) -> &[u8] {
        // SAFETY: the words 6 and on are TEXT_BYTES initialised bytes, in memory order as the firmware writes them.
        let bytes = unsafe { std::slice::from_raw_parts(self.0[6..].as_ptr().cast::<u8>(), TEXT_BYTES) };
        bytes.split(|&b| b == 0).next().unwrap_or_default()
    }
}

/// `_IOWR(100, 0, char *)`: the size of a pointer is part of the number.
fn request() -> u32 {
    let (read_write, kind) = (3 << 30, 100 << 8);
    read_write | (size_of::<*const u8>() as u32) << 16 | kind
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_is_the_one_the_driver_takes() {
        let mut message = Message::default();
        message.ask("pmic_read_adc");
        assert_eq!(message.0[..6], [263 * 4, 0, 0x30080, 1024, 0, 0]);
        assert_eq!(message.text(), b"pmic_read_adc");
        assert_eq!(message.0.last(), Some(&0), "end tag");
        assert_eq!(message.answer(), None, "not answered yet");
        message.0[1] = ANSWERED;
        assert_eq!(message.answer().as_deref(), Some("pmic_read_adc"));
        message.0[5] = 1;
        assert_eq!(message.answer(), None, "an error number");
        #[cfg(target_pointer_width = "64")]
        assert_eq!(request(), 0xC008_6400);
        #[cfg(target_pointer_width = "32")]
        assert_eq!(request(), 0xC004_6400);
    }
}
