//! Content-Transfer-Encoding (RFC 2045 §6), exact to the octet and in constant memory.

/// How octets are written into a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TransferEncoding {
    /// As they are, announced as 8bit: for messages and multiparts, which must not be encoded.
    Identity,
    /// RFC 2045 §6.7; octets that are no text survive it too.
    QuotedPrintable,
    /// RFC 2045 §6.8, in lines of 76 characters.
    Base64,
}

/// Encodes octets as they come. Memory does not grow with them.
#[derive(Debug, Clone)]
pub struct TransferEncoder {
    _encoding: TransferEncoding,
}

impl TransferEncoder {
    /// An encoder that has seen nothing.
    #[must_use]
    pub fn new(encoding: TransferEncoding) -> Self {
        Self { _encoding: encoding }
    }

    /// Takes the next octets and appends what can be written of them to `out`.
    pub fn write(&mut self, _octets: &[u8], _out: &mut Vec<u8>) {
        todo!()
    }

    /// Appends what is left to `out`.
    pub fn finish(self, _out: &mut Vec<u8>) {
        todo!()
    }
}
