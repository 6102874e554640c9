//! How messages are written and read.

use super::{KINDS, MessageError, PROTOCOL};

/// Writes a message, little-endian.
pub(super) struct Writer<'a> {
    buffer: &'a mut [u8],
    /// What is written so far, in bytes.
    pub(super) length: usize,
}

impl<'a> Writer<'a> {
    pub(super) fn start(buffer: &'a mut [u8], kind: u32) -> Result<Self, MessageError> {
        let mut writer = Self { buffer, length: 0 };
        writer.u32(kind)?;
        writer.u32(PROTOCOL)?;
        Ok(writer)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), MessageError> {
        let end = self.length.checked_add(bytes.len()).ok_or(MessageError::Length)?;
        self.buffer.get_mut(self.length..end).ok_or(MessageError::Length)?.copy_from_slice(bytes);
        self.length = end;
        Ok(())
    }

    pub(super) fn u32(&mut self, value: u32) -> Result<(), MessageError> {
        self.put(&value.to_le_bytes())
    }

    pub(super) fn u64(&mut self, value: u64) -> Result<(), MessageError> {
        self.put(&value.to_le_bytes())
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) -> Result<(), MessageError> {
        self.u32(u32::try_from(bytes.len()).map_err(|_| MessageError::Length)?)?;
        self.put(bytes)
    }
}

/// Reads one, and believes nothing of it.
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn start(message: &'a [u8]) -> Result<(u32, Self), MessageError> {
        let mut reader = Self { rest: message };
        let kind = reader.u32()?;
        match reader.u32()? {
            PROTOCOL => Ok((kind, reader)),
            _ if !KINDS.contains(&kind) => Err(MessageError::Kind),
            other => Err(MessageError::Protocol(other)),
        }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], MessageError> {
        let (head, rest) = self.rest.split_first_chunk::<N>().ok_or(MessageError::Length)?;
        self.rest = rest;
        Ok(*head)
    }

    pub(super) fn u32(&mut self) -> Result<u32, MessageError> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, MessageError> {
        self.array().map(u64::from_le_bytes)
    }

    pub(super) fn bytes(&mut self) -> Result<&'a [u8], MessageError> {
        let length = usize::try_from(self.u32()?).map_err(|_| MessageError::Length)?;
        let (head, rest) = self.rest.split_at_checked(length).ok_or(MessageError::Length)?;
        self.rest = rest;
        Ok(head)
    }

    pub(super) fn end(&self) -> Result<(), MessageError> {
        if self.rest.is_empty() { Ok(()) } else { Err(MessageError::Length) }
    }
}
