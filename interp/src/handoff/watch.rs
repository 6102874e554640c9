//! What `sonde trace --pid` says at a supervisor's door. The shim does not take part in it.

use super::wire::{Reader, Writer};
use super::{MessageError, WATCH};

/// How the events that follow are written. Goes up whenever that changes: a supervisor that runs may be of an earlier
/// version than who comes to watch.
pub const FORM: u32 = 1;

/// How long a [`Watch`] is, in bytes.
pub const WATCH_LENGTH: usize = 16;

/// Somebody wants to see what the tree of a process loads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Watch {
    /// See [`FORM`].
    pub form: u32,
    /// A process of the tree.
    pub process: u32,
}

impl Watch {
    /// The message.
    pub fn encode(&self) -> Result<[u8; WATCH_LENGTH], MessageError> {
        let mut buffer = [0; WATCH_LENGTH];
        let mut writer = Writer::start(&mut buffer, WATCH)?;
        writer.u32(self.form)?;
        writer.u32(self.process)?;
        Ok(buffer)
    }

    /// Reads a message.
    pub fn decode(message: &[u8]) -> Result<Self, MessageError> {
        let (kind, mut reader) = Reader::start(message)?;
        if kind != WATCH {
            return Err(MessageError::Kind);
        }
        let watch = Self { form: reader.u32()?, process: reader.u32()? };
        reader.end()?;
        Ok(watch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_survives_the_wire_whole_or_not_at_all() {
        let watch = Watch { form: FORM, process: 4711 };
        let message = watch.encode().unwrap();
        assert_eq!(Watch::decode(&message), Ok(watch));
        for cut in 0..message.len() {
            assert!(Watch::decode(&message[..cut]).is_err(), "{cut}");
        }
        assert_eq!(Watch::decode(&[&message[..], b"x"].concat()), Err(MessageError::Length));
    }
}
