/// A pcapng block under construction, other than one that holds a packet.
///
/// Fixed fields come first, then options.
pub(super) struct Block {
    bytes: Vec<u8>,
    options: Options,
}

/// The options of a block.
#[derive(Default)]
pub(super) struct Options(Vec<u8>);

impl Block {
    pub(super) fn new(kind: u32) -> Block {
        let mut block = Block { bytes: Vec::new(), options: Options::default() };
        block.u32(kind);
        // The length, once it is known.
        block.u32(0);
        block
    }

    pub(super) fn u16(&mut self, value: u16) {
        self.bytes.extend(value.to_le_bytes());
    }

    pub(super) fn u32(&mut self, value: u32) {
        self.bytes.extend(value.to_le_bytes());
    }

    /// A timestamp, whose halves are stored the more significant one first.
    pub(super) fn timestamp(&mut self, nanoseconds: u64) {
        self.bytes.extend(timestamp(nanoseconds));
    }

    /// An option; `value` is cut where its 16-bit length ends.
    pub(super) fn option(&mut self, code: u16, value: &[u8]) {
        self.options.add(code, value);
    }

    /// An option that counts.
    pub(super) fn counter(&mut self, code: u16, value: Option<u64>) {
        if let Some(value) = value {
            self.option(code, &value.to_le_bytes());
        }
    }

    /// An option that is text, unless there is none.
    pub(super) fn text(&mut self, code: u16, prefix: &[u8], text: &str) {
        self.options.text(code, prefix, text);
    }

    /// The block, complete.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.bytes.extend(std::mem::take(&mut self.options).finish());
        // A few options of at most 64 KiB each: far below 4 GiB.
        let length = self.bytes.len() as u32 + 4;
        self.u32(length);
        self.bytes[4..8].copy_from_slice(&length.to_le_bytes());
        self.bytes
    }
}

impl Options {
    /// An option; `value` is cut where its 16-bit length ends.
    pub(super) fn add(&mut self, code: u16, value: &[u8]) {
        let length = u16::try_from(value.len()).unwrap_or(u16::MAX);
        self.0.extend(code.to_le_bytes());
        self.0.extend(length.to_le_bytes());
        self.0.extend(&value[..length.into()]);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }

    /// An option that is text, unless there is none.
    ///
    /// The text may have come from a server, and tools print it to terminals, so control
    /// characters other than line breaks and tabs are replaced.
    pub(super) fn text(&mut self, code: u16, prefix: &[u8], text: &str) {
        if text.is_empty() {
            return;
        }
        let mut value = prefix.to_vec();
        for character in text.chars() {
            let harmless = !character.is_control() || matches!(character, '\n' | '\t');
            let character = if harmless { character } else { char::REPLACEMENT_CHARACTER };
            if value.len() + character.len_utf8() > u16::MAX.into() {
                break;
            }
            value.extend(character.encode_utf8(&mut [0; 4]).bytes());
        }
        self.add(code, &value);
    }

    /// With what ends them, if there are any.
    pub(super) fn finish(mut self) -> Vec<u8> {
        if !self.0.is_empty() {
            self.0.extend([0; 4]);
        }
        self.0
    }
}

/// A timestamp as it is stored: the more significant half first, each half little-endian.
pub(super) fn timestamp(nanoseconds: u64) -> [u8; 8] {
    nanoseconds.rotate_left(32).to_le_bytes()
}
