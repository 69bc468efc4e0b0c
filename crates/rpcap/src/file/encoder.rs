use super::pcap::Resolution;
use super::{Error, Format, MAX_SNAPLEN, Meta, Record, Summary, pcap, pcapng};

/// A savefile in pieces, for those who hand them on by themselves.
///
/// pcap has room for one link type: interfaces of others are refused.
#[derive(Debug)]
pub struct Encoder {
    format: Format,
    /// The snaplen of each interface.
    snaplens: Vec<u32>,
    /// The link type of a pcap file, once it has one.
    linktype: Option<u32>,
}

impl Encoder {
    /// A savefile of this format.
    pub fn new(format: Format) -> Self {
        Self { format, snaplens: Vec::new(), linktype: None }
    }

    /// What it begins with.
    pub fn start(&self) -> Vec<u8> {
        match self.format {
            Format::Pcapng => pcapng::section_header(),
            // The link type is not known yet.
            Format::Pcap | Format::PcapNanoseconds => Vec::new(),
        }
    }

    /// Begins another section, whose interfaces are numbered anew: what it begins with. pcap has none, and needs none.
    pub fn restart(&mut self) -> Vec<u8> {
        self.snaplens.clear();
        self.start()
    }

    /// Adds an interface: its number, and what has to stand in front of its packets.
    pub fn add(&mut self, meta: &Meta) -> Result<(u32, Vec<u8>), Error> {
        let block = match self.resolution() {
            None => pcapng::interface_description(meta)?,
            Some(resolution) => match self.linktype {
                None => {
                    let header = pcap::header(resolution, MAX_SNAPLEN, meta)?;
                    self.linktype = Some(meta.linktype);
                    header.to_vec()
                }
                Some(linktype) if linktype == meta.linktype => Vec::new(),
                Some(_) => return Err(Error::OneLinkType),
            },
        };
        self.snaplens.push(meta.effective_snaplen());
        Ok((self.snaplens.len() as u32 - 1, block))
    }

    /// Appends a packet of an interface that was added.
    pub fn packet(&self, to: &mut Vec<u8>, interface: u32, record: &Record<'_>) {
        let Some(snaplen) = self.snaplens.get(interface as usize) else { return };
        // Writing to memory cannot fail.
        let _ = match self.resolution() {
            None => pcapng::packet(to, interface, *snaplen, record),
            Some(resolution) => pcap::packet(to, resolution, *snaplen, record),
        };
    }

    /// Appends what became of an interface's packets, if the format has a place for it.
    pub fn summary(&self, to: &mut Vec<u8>, interface: u32, summary: &Summary) {
        if self.format == Format::Pcapng {
            to.extend(pcapng::interface_statistics(interface, summary));
        }
    }

    fn resolution(&self) -> Option<Resolution> {
        match self.format {
            Format::Pcapng => None,
            Format::Pcap => Some(Resolution::Microseconds),
            Format::PcapNanoseconds => Some(Resolution::Nanoseconds),
        }
    }
}
