use std::fmt;

use etherparse::TcpSlice;

use super::transport::Segment;

/// Size of the header without options.
const HEADER: usize = 20;

pub(super) fn print(out: &mut impl fmt::Write, segment: &Segment<'_>) -> fmt::Result {
    let Some(mut fixed) = segment.data.first_chunk::<HEADER>().copied() else {
        return cut(out, segment);
    };
    // Read by itself, as if it had no options, so that it is shown when they are cut.
    let size = usize::from(fixed[12] >> 4) * 4;
    fixed[12] = fixed[12] & 0x0f | 0x50;
    let Ok(header) = TcpSlice::from_slice(&fixed) else {
        return cut(out, segment);
    };
    segment.ports(out, header.source_port(), header.destination_port())?;
    flags(out, &header)?;
    let Some(length) = segment.length.checked_sub(size).filter(|_| size >= HEADER) else {
        return write!(out, ", bad header length {size}");
    };
    numbers(out, &header, length)?;
    match segment.data.get(HEADER..size) {
        None => return out.write_str(" [|tcp]"),
        Some([]) => {}
        Some(bytes) => options(out, bytes)?,
    }
    write!(out, ", length {length}")
}

fn cut(out: &mut impl fmt::Write, segment: &Segment<'_>) -> fmt::Result {
    segment.ends(out)?;
    out.write_str("[|tcp]")
}

fn flags(out: &mut impl fmt::Write, header: &TcpSlice<'_>) -> fmt::Result {
    let all = [
        (header.fin(), 'F'),
        (header.syn(), 'S'),
        (header.rst(), 'R'),
        (header.psh(), 'P'),
        (header.ack(), '.'),
        (header.urg(), 'U'),
        (header.ece(), 'E'),
        (header.cwr(), 'W'),
        (header.ns(), 'e'),
    ];
    out.write_str("Flags [")?;
    if all.iter().all(|(set, _)| !set) {
        out.write_str("none")?;
    }
    for (_, letter) in all.iter().filter(|(set, _)| *set) {
        out.write_char(*letter)?;
    }
    out.write_char(']')
}

/// Sequence numbers as they are on the wire, not relative to the start of the connection.
fn numbers(out: &mut impl fmt::Write, header: &TcpSlice<'_>, length: usize) -> fmt::Result {
    let first = header.sequence_number();
    if length > 0 {
        // Sequence numbers wrap around.
        write!(out, ", seq {first}:{}", first.wrapping_add(length as u32))?;
    } else if header.syn() || header.fin() || header.rst() {
        write!(out, ", seq {first}")?;
    }
    if header.ack() {
        write!(out, ", ack {}", header.acknowledgment_number())?;
    }
    write!(out, ", win {}", header.window_size())?;
    if header.urg() {
        write!(out, ", urg {}", header.urgent_pointer())?;
    }
    Ok(())
}

/// Options as tcpdump names them; the values of other ones are left out.
fn options(out: &mut impl fmt::Write, mut bytes: &[u8]) -> fmt::Result {
    out.write_str(", options [")?;
    let mut separator = "";
    while let Some((kind, rest)) = bytes.split_first() {
        out.write_str(separator)?;
        separator = ",";
        bytes = match kind {
            0 => {
                out.write_str("eol")?;
                break;
            }
            1 => {
                out.write_str("nop")?;
                rest
            }
            _ => {
                let value = rest.split_first().and_then(|(length, rest)| {
                    rest.split_at_checked(usize::from(*length).checked_sub(2)?)
                });
                let Some((value, rest)) = value else {
                    out.write_str("bad opt")?;
                    break;
                };
                option(out, *kind, value)?;
                rest
            }
        };
    }
    out.write_char(']')
}

fn option(out: &mut impl fmt::Write, kind: u8, value: &[u8]) -> fmt::Result {
    // The arms below see whole words only.
    let mut words = value.chunks_exact(4).map(u32_from);
    match (kind, value.len()) {
        (2, 2) => write!(out, "mss {}", u32_from(value)),
        (3, 1) => write!(out, "wscale {}", u32_from(value)),
        (4, 0) => out.write_str("sackOK"),
        (5, length) if length > 0 && length.is_multiple_of(8) => {
            write!(out, "sack {} ", length / 8)?;
            while let (Some(from), Some(to)) = (words.next(), words.next()) {
                write!(out, "{{{from}:{to}}}")?;
            }
            Ok(())
        }
        (8, 8) => {
            let (stamp, echo) = (words.next().unwrap_or(0), words.next().unwrap_or(0));
            write!(out, "TS val {stamp} ecr {echo}")
        }
        _ => write!(out, "unknown-{kind}"),
    }
}

/// A big-endian number of at most four bytes.
fn u32_from(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |number, byte| number << 8 | u32::from(*byte))
}
