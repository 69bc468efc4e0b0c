use std::path::Path;

/// How a savefile is laid out.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Format {
    /// pcapng, in nanoseconds
    Pcapng,
    /// pcap in microseconds, which every reader knows
    Pcap,
    /// pcap in nanoseconds, which some readers do not know
    PcapNanoseconds,
}

impl Format {
    /// The format that a file name asks for: [`Format::Pcap`] if it ends in `.pcap`, in any case,
    /// otherwise [`Format::Pcapng`].
    pub fn of(path: &Path) -> Format {
        match path.extension() {
            Some(extension) if extension.eq_ignore_ascii_case("pcap") => Format::Pcap,
            _ => Format::Pcapng,
        }
    }
}
