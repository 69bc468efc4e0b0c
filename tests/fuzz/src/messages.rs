//! Messages with valid framing whose fields are anything.

use rpcap_proto::bpf::Instruction;
use rpcap_proto::wire::{
    Address, AuthReply, AuthRequest, ByteOrder, Clock, Device, ErrorCode, FilterBlock, MarkedStats,
    MessageType, OpenReply, Sampling, SockAddr, StartFlags, StartReply, StartRequest, Stats,
    StatsRequest, write_devices, write_empty, write_error, write_message,
};

use super::input::Input;
use super::program::program;

fn filter(input: &mut Input<'_>) -> FilterBlock {
    let instructions = match input.u8() {
        // What every client has that wants all packets.
        0..128 => vec![Instruction::new(0x06, 65_535)],
        _ => program(input),
    };
    FilterBlock { instructions }
}

/// A request, by its first byte.
pub(crate) fn request(input: &mut Input<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    match input.u8() % 13 {
        0 => AuthRequest::Null.write(&mut out).expect("it is short"),
        1 => {
            let (user, password) = (input.bytes(), input.bytes());
            AuthRequest::Password { user, password }.write(&mut out).expect("they are short");
        }
        2 => AuthRequest::Unknown(input.u16()).write(&mut out).expect("it is short"),
        3 => write_empty(&mut out, MessageType::FindAllIfRequest),
        4 => {
            let shape = input.u8();
            let name = match shape {
                0..128 => b"lo",
                _ => input.bytes(),
            };
            let value = u16::from(shape & 1);
            write_message(&mut out, MessageType::OpenRequest, value, |b| b.extend_from_slice(name));
        }
        5 => StartRequest {
            snaplen: input.u32(),
            read_timeout_ms: input.u32(),
            flags: StartFlags(input.u16()),
            port: input.u16(),
            filter: filter(input),
        }
        .write(&mut out),
        6 => {
            let filter = filter(input);
            write_message(&mut out, MessageType::UpdateFilterRequest, 0, |b| filter.write(b));
        }
        7 => {
            let mark = (input.u8() > 127).then(|| u64::from(input.u32()).to_be_bytes());
            StatsRequest { mark }.write(&mut out);
        }
        8 => write_empty(&mut out, MessageType::EndCaptureRequest),
        9 => sampling(input).write(&mut out),
        10 => write_empty(&mut out, MessageType::Close),
        11 => error(input, &mut out),
        _ => {
            let (kind, value, payload) = (input.u8(), input.u16(), input.bytes());
            write_message(&mut out, kind.into(), value, |b| b.extend_from_slice(payload));
        }
    }
    damage(input, out)
}

/// What answers the request of that number: 0 AUTH, 1 the list of devices, 2 OPEN, 3 sampling,
/// 4 STARTCAP, 5 UPDATEFILTER, 6 STATS, 7 ENDCAP.
pub(crate) fn reply(request: u8, input: &mut Input<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    // Now and then something else than what was asked for.
    let kind = match input.u8() {
        0..224 => request,
        n => n,
    };
    match kind {
        0 => {
            let byte_order = match input.u8() % 3 {
                0 => None,
                1 => Some(ByteOrder::Big),
                _ => Some(ByteOrder::Little),
            };
            let (min_version, max_version) = (input.u8() / 128, input.u8());
            AuthReply { min_version, max_version, byte_order }.write(&mut out);
        }
        1 => {
            let devices: Vec<_> = (0..input.u8() % 4).map(|_| device(input)).collect();
            write_devices(&mut out, &devices);
        }
        2 => OpenReply { linktype: input.u32(), system: None }.write(&mut out),
        3 => write_empty(&mut out, MessageType::SetSamplingReply),
        4 => {
            let (buffer_size, port, extensions) = (input.u32(), input.u16(), input.u16());
            StartReply { buffer_size, port, extensions }.write(&mut out);
        }
        5 => write_empty(&mut out, MessageType::UpdateFilterReply),
        6 => {
            let stats = Stats {
                received: input.u32(),
                if_dropped: input.u32(),
                kernel_dropped: input.u32(),
                sent: input.u32(),
            };
            match input.u8() {
                0..128 => stats.write(&mut out),
                _ => {
                    // The marks of the first requests are small numbers.
                    let mark = u64::from(input.u8()).to_be_bytes();
                    let clock = Clock { taken: input.u32().into(), replied: input.u32().into() };
                    MarkedStats { stats, mark, clock }.write(&mut out);
                }
            }
        }
        7 => write_empty(&mut out, MessageType::EndCaptureReply),
        _ => error(input, &mut out),
    }
    damage(input, out)
}

fn device(input: &mut Input<'_>) -> Device {
    let address = |input: &mut Input<'_>| match input.u8() % 3 {
        0 => None,
        1 => Some(SockAddr::V4(input.u32().into())),
        _ => {
            let addr = u128::from(input.u32()).into();
            Some(SockAddr::V6 { addr, flow_info: input.u32(), scope_id: input.u32() })
        }
    };
    let (name, description) = (input.bytes().to_vec(), input.bytes().to_vec());
    let addresses = (0..input.u8() % 3)
        .map(|_| Address { addr: address(input), netmask: address(input), ..Address::default() })
        .collect();
    Device { name, description, flags: input.u32(), addresses }
}

fn sampling(input: &mut Input<'_>) -> Sampling {
    match input.u8() % 3 {
        0 => Sampling::None,
        1 => Sampling::OneEvery(input.u32()),
        _ => Sampling::FirstAfterMs(input.u32()),
    }
}

fn error(input: &mut Input<'_>, out: &mut Vec<u8>) {
    use ErrorCode::{AuthFailed, InitTimeout, Open, Read, RuntimeTimeout, WrongVersion};
    let codes = [Read, InitTimeout, RuntimeTimeout, WrongVersion, AuthFailed, Open];
    let (version, code) = (input.u8() / 192, input.pick(&codes));
    let text = String::from_utf8_lossy(input.bytes());
    write_error(out, version, code, &text);
}

/// Mostly leaves a message as it is; a byte says what is done to it.
fn damage(input: &mut Input<'_>, mut message: Vec<u8>) -> Vec<u8> {
    match input.u8() {
        // A byte is another one.
        224..=231 => {
            let at = usize::from(input.u16()) % message.len();
            message[at] ^= input.u8();
        }
        // The end is missing; eight bytes are what libpcap forgets of an empty filter.
        232..=235 => message.truncate(message.len() - usize::from(input.u8()) % message.len()),
        236..=239 => message.truncate(message.len().saturating_sub(8).max(1)),
        // It claims another length.
        240..=247 => message[4..8].copy_from_slice(&input.u32().to_be_bytes()),
        // There is more than it says.
        248..=251 => message.extend_from_slice(input.bytes()),
        // Another version, another type.
        252 => message[0] = input.u8(),
        253 => message[1] = input.u8(),
        _ => {}
    }
    message
}
