//! The protocol's bytes, written out by hand: what these tests send owes nothing to the code that
//! they test.

pub(crate) const ERROR: u8 = 0x01;
pub(crate) const FINDALLIF: u8 = 0x02;
pub(crate) const OPEN: u8 = 0x03;
pub(crate) const STARTCAP: u8 = 0x04;
pub(crate) const UPDATEFILTER: u8 = 0x05;
pub(crate) const CLOSE: u8 = 0x06;
pub(crate) const PACKET: u8 = 0x07;
pub(crate) const AUTH: u8 = 0x08;
pub(crate) const STATS: u8 = 0x09;
pub(crate) const ENDCAP: u8 = 0x0a;
pub(crate) const SETSAMPLING: u8 = 0x0b;
pub(crate) const REPLY: u8 = 0x80;

/// STARTCAP's flags.
pub(crate) const PROMISC: u16 = 1;
pub(crate) const DGRAM: u16 = 2;
pub(crate) const SERVEROPEN: u16 = 4;

/// A header that claims `len` bytes of payload.
pub(crate) fn header(kind: u8, len: u32) -> Vec<u8> {
    [&[0, kind, 0, 0][..], &len.to_be_bytes()].concat()
}

/// A whole message.
pub(crate) fn msg(kind: u8, payload: &[u8]) -> Vec<u8> {
    [&header(kind, payload.len() as u32), payload].concat()
}

/// AUTH without a name.
pub(crate) fn auth() -> Vec<u8> {
    msg(AUTH, &[0; 8])
}

/// AUTH of this type with these claims of lengths, and `rest` after them.
pub(crate) fn auth_claiming(kind: u16, user: u16, password: u16, rest: &[u8]) -> Vec<u8> {
    let mut payload = Vec::new();
    for field in [kind, 0, user, password] {
        payload.extend_from_slice(&field.to_be_bytes());
    }
    payload.extend_from_slice(rest);
    msg(AUTH, &payload)
}

/// AUTH with a name and a password.
pub(crate) fn login(user: &[u8], password: &[u8]) -> Vec<u8> {
    let rest = [user, password].concat();
    auth_claiming(1, user.len() as u16, password.len() as u16, &rest)
}

pub(crate) fn open(name: &str) -> Vec<u8> {
    msg(OPEN, name.as_bytes())
}

pub(crate) fn sampling(method: u8, value: u32) -> Vec<u8> {
    msg(SETSAMPLING, &[&[method, 0, 0, 0][..], &value.to_be_bytes()].concat())
}

/// An instruction: code, jt, jf, k.
pub(crate) type Insn = (u16, u8, u8, u32);

pub(crate) const RET_ALL: Insn = (0x06, 0, 0, 262_144);
pub(crate) const RET_NONE: Insn = (0x06, 0, 0, 0);
pub(crate) const ALL: &[Insn] = &[RET_ALL];

/// Packets whose first byte, which is their number, is even.
pub(crate) const EVEN: &[Insn] =
    &[(0x30, 0, 0, 0), (0x54, 0, 0, 1), (0x15, 0, 1, 0), RET_ALL, RET_NONE];

/// A filter as STARTCAP and UPDATEFILTER carry it.
pub(crate) fn filter(program: &[Insn]) -> Vec<u8> {
    filter_claiming(1, program.len() as u32, program)
}

/// A filter of this type that claims `count` instructions.
pub(crate) fn filter_claiming(kind: u16, count: u32, program: &[Insn]) -> Vec<u8> {
    let mut out = kind.to_be_bytes().to_vec();
    out.extend_from_slice(&[0; 2]);
    out.extend_from_slice(&count.to_be_bytes());
    for (code, jt, jf, k) in program {
        out.extend_from_slice(&code.to_be_bytes());
        out.extend_from_slice(&[*jt, *jf]);
        out.extend_from_slice(&k.to_be_bytes());
    }
    out
}

pub(crate) fn update(program: &[Insn]) -> Vec<u8> {
    msg(UPDATEFILTER, &filter(program))
}

/// A STARTCAP, valid unless a test makes it otherwise.
#[derive(Clone)]
pub(crate) struct Start {
    pub(crate) snaplen: u32,
    pub(crate) timeout: u32,
    pub(crate) flags: u16,
    pub(crate) port: u16,
    pub(crate) filter: Vec<u8>,
}

impl Default for Start {
    fn default() -> Self {
        Self { snaplen: 262_144, timeout: 500, flags: PROMISC, port: 0, filter: filter(ALL) }
    }
}

impl Start {
    /// With this filter.
    pub(crate) fn filtered(program: &[Insn]) -> Self {
        Self { filter: filter(program), ..Self::default() }
    }

    pub(crate) fn payload(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend_from_slice(&self.snaplen.to_be_bytes());
        out.extend_from_slice(&self.timeout.to_be_bytes());
        out.extend_from_slice(&self.flags.to_be_bytes());
        out.extend_from_slice(&self.port.to_be_bytes());
        out.extend_from_slice(&self.filter);
        out
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        msg(STARTCAP, &self.payload())
    }

    /// Its first 20 bytes of payload, claiming one instruction and a length without any: what
    /// clients send that were given no filter.
    pub(crate) fn cut_before_the_filter() -> Vec<u8> {
        let start = Self::default();
        msg(STARTCAP, &start.payload()[..20])
    }
}
