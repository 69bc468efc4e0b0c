//! Opening devices and starting captures.

use std::sync::Arc;
use std::time::Instant;

use rpcap_proto::bpf::Program;
use rpcap_proto::sealed::{self, Cipher, Secret};
use rpcap_proto::session::{DataChannel, Direction, Start};
use rpcap_proto::wire::{SNAPLEN_MAX, StartFlags, StartReply};

use super::{Capturing, Session};
use crate::devices::Kind;
use crate::ledger::Ledger;
use crate::limits::captures::{Most, Reserved};
use crate::limits::rate;
use crate::pump::{DataOptions, DataPath, Plan, Running, Time};
use crate::transport::Framing;

impl Session<'_> {
    /// The link type of a listed device. What a capture needs beyond that, a right or an interface
    /// that is up, STARTCAP will tell.
    pub(super) fn linktype(&self, name: &str) -> Result<capture::LinkType, String> {
        self.linktype_of(&self.find(name)?, name)
    }

    fn linktype_of(&self, kind: &Kind<'_>, name: &str) -> Result<capture::LinkType, String> {
        match kind {
            Kind::Interface => capture::linktype(name, self.terms.settings.cli.backend.into()),
            Kind::Savefile(path) => capture::replay::open(path, &capture::Options::default(), true)
                .map(|capture| capture.linktype()),
        }
        .map_err(|e| e.to_string())
    }

    fn find(&self, name: &str) -> Result<Kind<'_>, String> {
        self.terms.devices().find(name).map_err(|e| e.to_string())
    }

    /// Starts to capture from a listed device, the daemon's own traffic kept out.
    fn open(
        &self,
        kind: &Kind<'_>,
        name: &str,
        mut options: capture::Options,
    ) -> Result<capture::Capture, String> {
        match kind {
            Kind::Interface => capture::linktype(name, options.backend).and_then(|linktype| {
                options.guard = self.shared.own.guard(linktype);
                capture::open(name, &options)
            }),
            Kind::Savefile(path) => capture::replay::open(path, &options, true),
        }
        .map_err(|e| e.to_string())
    }

    /// Starts a capture: device first, then the data connection, so that a client is not connected
    /// to for nothing; the filter is on before the ring takes its first packet.
    pub(super) fn start(&mut self, start: &Start) -> Result<StartReply, String> {
        let cli = &self.terms.settings.cli;
        // Once: it has the system list all interfaces.
        let kind = self.find(&start.device)?;
        let snaplen = start.snaplen.min(self.terms.snaplen());
        let ceiling = match self.terms.filter() {
            Some(text) => Some(ceiling(&text, self.linktype_of(&kind, &start.device)?)?),
            None => None,
        };
        let latency = start.read_timeout.min(cli.latency);
        let options = capture::Options {
            backend: cli.backend.into(),
            snaplen,
            promisc: start.promisc,
            ring_bytes: usize::try_from(cli.buffer).unwrap_or(usize::MAX),
            block_timeout: latency,
            direction: match start.direction {
                Direction::Both => capture::Direction::Both,
                Direction::In => capture::Direction::In,
                Direction::Out => capture::Direction::Out,
            },
            filter: within(ceiling.as_ref(), &start.filter)?,
            ..capture::Options::default()
        };
        let mut reserved = self.reserve(&kind, &options)?;
        let encrypted = self.control.is_encrypted();
        let (framing, seal) = match (start.data, self.terms.framing(start)) {
            (DataChannel::Udp(_), framing) if encrypted => {
                let (framing, seal) = self.seal(start, framing)?;
                (framing, Some(seal))
            }
            (_, framing) => (framing, None),
        };
        let capture = self.open(&kind, &start.device, options)?;
        reserved.shrink(self.memory(capture.ring_bytes()));
        let watched = self.shared.own.watch(capture.control(), capture.linktype());
        let (local, peer) = (self.control.local, self.control.peer);
        // Hidden before its first packet can be.
        let hide = |flow| self.shared.own.hide(flow);
        let path =
            DataOptions { listen_port: cli.data_port, bind_device: self.terms.bind_device() };
        let (data, hidden) =
            DataPath::open(start.data, local, peer, &path, hide).map_err(|e| e.to_string())?;
        let udpstr = matches!(start.data, DataChannel::Udp(_)) && framing != Framing::Messages;
        // Only what the client offered is confirmed.
        let offered = |flag| start.flags.contains(flag);
        let mut extensions =
            if udpstr && offered(StartFlags::UDPSTR) { StartFlags::UDPSTR.0 } else { 0 };
        let is_sealed = seal.is_some();
        if is_sealed {
            extensions |= StartFlags::SEALED.0;
        }
        let mut port = data.listening_port();
        if let Some(source) = data.source_port()
            && offered(StartFlags::SOURCE_PORT)
        {
            port = source;
            extensions |= StartFlags::SOURCE_PORT.0;
        }
        // The times in a savefile are nobody's clock.
        if matches!(kind, Kind::Interface) && offered(StartFlags::CLOCK) {
            extensions |= StartFlags::CLOCK.0;
        }
        let mut time = Time::Micros;
        if offered(StartFlags::NANOS) {
            time = Time::Nanos;
            extensions |= StartFlags::NANOS.0;
        }
        let buffer_size = u32::try_from(capture.ring_bytes()).unwrap_or(u32::MAX);
        let reply = StartReply { buffer_size, port, extensions };
        let device = &*start.device;
        if let Some(asked) = capture.ring_shrunk() {
            tracing::warn!(
                %peer, device, asked, granted = capture.ring_bytes(),
                "capture buffer is smaller than asked: memory is short"
            );
        }
        tracing::info!(
            %peer, user = self.user(), by = self.by(), device, snaplen, promisc = start.promisc,
            filter = start.filter.instructions().len(), program = one_line(&start.filter),
            data = ?start.data, encrypted, udpstr, sampling = ?start.sampling, ring = capture.ring_bytes(),
            "capture started"
        );
        let (tell, waker) = (self.tell.clone(), Arc::clone(&self.waker));
        let tell = move |event| {
            // Neither fails while the session is there to hear it.
            let _ = tell.send(event);
            let _ = waker.wake();
        };
        let options = self.terms.settings.transport.clone();
        let mut overhead = rate::overhead(matches!(start.data, DataChannel::Udp(_)), peer.ip());
        if is_sealed {
            overhead += sealed::OVERHEAD as u64;
        }
        let limits = Arc::clone(&self.shared.limits);
        let tls = self.terms.tls().filter(|_| encrypted).cloned();
        let plan = Plan {
            sampling: start.sampling,
            time,
            framing,
            options,
            limits,
            overhead,
            tls,
            seal,
            latency,
        };
        self.asked = Ledger::default();
        let running = Running::start(&start.device, capture, data, plan, tell)
            .map_err(|e| format!("starting the capture's thread: {e}"))?;
        self.sealed += u32::from(is_sealed);
        running.gauge.set_filter_length(start.filter.instructions().len());
        self.entry.capturing(running.gauge.clone());
        self.running = Some(Capturing {
            running,
            counted: Instant::now(),
            ceiling,
            _hidden: hidden,
            _watched: watched,
            _reserved: reserved,
        });
        Ok(reply)
    }

    /// How datagrams are sealed, which have to be where the control connection is encrypted.
    fn seal(&self, start: &Start, framing: Framing) -> Result<(Framing, (Secret, Cipher)), String> {
        if !start.flags.contains(StartFlags::UDPSTR | StartFlags::SEALED) {
            return Err("UDP data connections are not encrypted: use TCP".to_owned());
        }
        let Framing::UdpStream(mtu) = framing else {
            return Err("UDP data connections are encrypted as udpstr only, which this daemon is \
                        told not to send: use TCP"
                .to_owned());
        };
        match self.control.seal(self.sealed) {
            Some(seal) => Ok((Framing::Sealed(mtu), seal)),
            None => Err("UDP data connections are encrypted with TLS 1.3 only: use TCP".to_owned()),
        }
    }

    /// Sets a place aside for a capture, before anything is done for it.
    fn reserve(&self, kind: &Kind<'_>, options: &capture::Options) -> Result<Reserved, String> {
        let cli = &self.terms.settings.cli;
        let ring = match kind {
            Kind::Interface => capture::ring_bytes(options),
            Kind::Savefile(_) => capture::replay::BLOCK,
        };
        let most = Most { captures: cli.max_captures, bytes: cli.max_memory };
        self.shared.limits.captures.reserve(most, self.memory(ring)).map_err(|e| e.to_string())
    }

    /// Bytes that a capture with this ring has for packets.
    fn memory(&self, ring: usize) -> u64 {
        ring.saturating_add(self.terms.settings.transport.packet_memory()) as u64
    }

    /// Replaces the filter of the capture that runs, if one does.
    pub(super) fn set_filter(&self, program: &Program) -> Result<(), String> {
        let Some(Capturing { running, ceiling, .. }) = &self.running else {
            return Ok(());
        };
        let filter = within(ceiling.as_ref(), program)?;
        running.control().set_filter(&filter).map_err(|e| e.to_string())?;
        let length = program.instructions().len();
        running.gauge.set_filter_length(length);
        tracing::info!(
            peer = %self.control.peer, user = self.user(), by = self.by(),
            device = &*running.gauge.device,
            filter = length, program = one_line(program), "filter changed"
        );
        Ok(())
    }
}

/// The operator's filter, which packets must pass besides the client's.
fn ceiling(text: &str, linktype: capture::LinkType) -> Result<Program, String> {
    let instructions = capture::libpcap::compile(text, linktype, SNAPLEN_MAX, true)
        .map_err(|e| format!("the operator's filter: {e}"))?;
    let instructions = instructions
        .iter()
        .map(|i| rpcap_proto::bpf::Instruction { code: i.code, jt: i.jt, jf: i.jf, k: i.k })
        .collect();
    Program::new(instructions).map_err(|e| format!("the operator's filter: {e}"))
}

/// A filter for the log: its instructions without what is only there for the eye, and no more than a
/// line holds.
fn one_line(program: &Program) -> String {
    const LONGEST: usize = 512;
    let text = program.disassemble().to_string();
    let instructions = text.lines().map(|l| l.split_whitespace().collect::<Vec<_>>().join(" "));
    let mut line = String::new();
    for instruction in instructions {
        if line.len() + instruction.len() > LONGEST {
            line += "; ...";
            break;
        }
        if !line.is_empty() {
            line += "; ";
        }
        line += &instruction;
    }
    line
}

/// A client's filter, for packets that pass the operator's.
fn within(
    ceiling: Option<&Program>,
    program: &Program,
) -> Result<Vec<capture::Instruction>, String> {
    let program = match ceiling {
        Some(ceiling) => &program
            .clone()
            .within(ceiling)
            .map_err(|e| format!("the filter together with the operator's: {e}"))?,
        None => program,
    };
    Ok(program
        .instructions()
        .iter()
        .map(|i| capture::Instruction { code: i.code, jt: i.jt, jf: i.jf, k: i.k })
        .collect())
}
