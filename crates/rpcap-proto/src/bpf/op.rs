//! Operation codes.
//!
//! Every code that a [`Program`](super::Program) can contain has a name here; any other 16-bit
//! value is refused. The numbers are those of `filter(7)` and `<linux/bpf_common.h>`. Written
//! below: `P[n]` for bytes of the packet at offset n, big-endian; `k`, `jt`, `jf` for the fields of
//! the [`Instruction`](super::Instruction).

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal;)*) => {
        $($(#[$doc])* pub const $name: u16 = $code;)*

        /// Every operation code there is, in numerical order.
        pub const ALL: &[u16] = &[$($name),*];
    };
}

codes! {
    /// `A = k`
    LD_IMM = 0x00;
    /// `X = k`
    LDX_IMM = 0x01;
    /// `M[k] = A`
    ST = 0x02;
    /// `M[k] = X`
    STX = 0x03;
    /// `A += k`
    ADD_K = 0x04;
    /// Jump `k` instructions ahead.
    JA = 0x05;
    /// Return `k`.
    RET_K = 0x06;
    /// `X = A`
    TAX = 0x07;
    /// `A += X`
    ADD_X = 0x0c;
    /// `A -= k`
    SUB_K = 0x14;
    /// Jump `jt` ahead if `A == k`, else `jf`.
    JEQ_K = 0x15;
    /// Return `A`.
    RET_A = 0x16;
    /// `A -= X`
    SUB_X = 0x1c;
    /// Jump `jt` ahead if `A == X`, else `jf`.
    JEQ_X = 0x1d;
    /// `A = P[k..k + 4]`, or an [`Ancillary`](super::Ancillary) value.
    LD_W_ABS = 0x20;
    /// `A *= k`
    MUL_K = 0x24;
    /// Jump `jt` ahead if `A > k`, else `jf`.
    JGT_K = 0x25;
    /// `A = P[k..k + 2]`, or an [`Ancillary`](super::Ancillary) value.
    LD_H_ABS = 0x28;
    /// `A *= X`
    MUL_X = 0x2c;
    /// Jump `jt` ahead if `A > X`, else `jf`.
    JGT_X = 0x2d;
    /// `A = P[k]`, or an [`Ancillary`](super::Ancillary) value.
    LD_B_ABS = 0x30;
    /// `A /= k`
    DIV_K = 0x34;
    /// Jump `jt` ahead if `A >= k`, else `jf`.
    JGE_K = 0x35;
    /// `A /= X`; return 0 if `X` is 0.
    DIV_X = 0x3c;
    /// Jump `jt` ahead if `A >= X`, else `jf`.
    JGE_X = 0x3d;
    /// `A = P[X + k..X + k + 4]`
    LD_W_IND = 0x40;
    /// `A |= k`
    OR_K = 0x44;
    /// Jump `jt` ahead if `A & k` is not 0, else `jf`.
    JSET_K = 0x45;
    /// `A = P[X + k..X + k + 2]`
    LD_H_IND = 0x48;
    /// `A |= X`
    OR_X = 0x4c;
    /// Jump `jt` ahead if `A & X` is not 0, else `jf`.
    JSET_X = 0x4d;
    /// `A = P[X + k]`
    LD_B_IND = 0x50;
    /// `A &= k`
    AND_K = 0x54;
    /// `A &= X`
    AND_X = 0x5c;
    /// `A = M[k]`
    LD_MEM = 0x60;
    /// `X = M[k]`
    LDX_MEM = 0x61;
    /// `A <<= k`
    LSH_K = 0x64;
    /// `A <<= X`
    LSH_X = 0x6c;
    /// `A >>= k`
    RSH_K = 0x74;
    /// `A >>= X`
    RSH_X = 0x7c;
    /// `A` = original length of the packet
    LD_LEN = 0x80;
    /// `X` = original length of the packet
    LDX_LEN = 0x81;
    /// `A = -A`
    NEG = 0x84;
    /// `A = X`
    TXA = 0x87;
    /// `A %= k`
    MOD_K = 0x94;
    /// `A %= X`; return 0 if `X` is 0.
    MOD_X = 0x9c;
    /// `A ^= k`
    XOR_K = 0xa4;
    /// `A ^= X`
    XOR_X = 0xac;
    /// `X = 4 * (P[k] & 0xf)`, the length of an IPv4 header.
    LDX_B_MSH = 0xb1;
}
