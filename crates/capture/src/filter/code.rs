//! The opcodes that the Linux kernel knows (`linux/filter.h`, `linux/bpf_common.h`), and where it keeps what is not
//! packet.

pub(crate) const LD_W_ABS: u16 = 0x20;
pub(crate) const LD_H_ABS: u16 = 0x28;
pub(crate) const LD_B_ABS: u16 = 0x30;
pub(crate) const LD_W_IND: u16 = 0x40;
pub(crate) const LD_H_IND: u16 = 0x48;
pub(crate) const LD_B_IND: u16 = 0x50;
pub(crate) const LD_W_LEN: u16 = 0x80;
pub(crate) const LD_IMM: u16 = 0x00;
pub(crate) const LD_MEM: u16 = 0x60;
pub(crate) const LDX_IMM: u16 = 0x01;
pub(crate) const LDX_MEM: u16 = 0x61;
pub(crate) const LDX_W_LEN: u16 = 0x81;
pub(crate) const LDX_B_MSH: u16 = 0xb1;
pub(crate) const ST: u16 = 0x02;
pub(crate) const STX: u16 = 0x03;
pub(crate) const ADD_K: u16 = 0x04;
pub(crate) const ADD_X: u16 = 0x0c;
pub(crate) const SUB_K: u16 = 0x14;
pub(crate) const SUB_X: u16 = 0x1c;
pub(crate) const MUL_K: u16 = 0x24;
pub(crate) const MUL_X: u16 = 0x2c;
pub(crate) const DIV_K: u16 = 0x34;
pub(crate) const DIV_X: u16 = 0x3c;
pub(crate) const OR_K: u16 = 0x44;
pub(crate) const OR_X: u16 = 0x4c;
pub(crate) const AND_K: u16 = 0x54;
pub(crate) const AND_X: u16 = 0x5c;
pub(crate) const LSH_K: u16 = 0x64;
pub(crate) const LSH_X: u16 = 0x6c;
pub(crate) const RSH_K: u16 = 0x74;
pub(crate) const RSH_X: u16 = 0x7c;
pub(crate) const NEG: u16 = 0x84;
pub(crate) const MOD_K: u16 = 0x94;
pub(crate) const MOD_X: u16 = 0x9c;
pub(crate) const XOR_K: u16 = 0xa4;
pub(crate) const XOR_X: u16 = 0xac;
pub(crate) const JA: u16 = 0x05;
pub(crate) const JEQ_K: u16 = 0x15;
pub(crate) const JEQ_X: u16 = 0x1d;
pub(crate) const JGT_K: u16 = 0x25;
pub(crate) const JGT_X: u16 = 0x2d;
pub(crate) const JGE_K: u16 = 0x35;
pub(crate) const JGE_X: u16 = 0x3d;
pub(crate) const JSET_K: u16 = 0x45;
pub(crate) const JSET_X: u16 = 0x4d;
pub(crate) const RET_K: u16 = 0x06;
pub(crate) const RET_A: u16 = 0x16;
pub(crate) const TAX: u16 = 0x07;
pub(crate) const TXA: u16 = 0x87;

/// Cells of scratch memory.
pub(crate) const SCRATCH: usize = 16;

/// An absolute load at `SKF_AD + n` reads something about the packet.
pub(crate) const SKF_AD: i32 = -0x1000;
pub(crate) const SKF_AD_PROTOCOL: u32 = SKF_AD as u32;
pub(crate) const SKF_AD_PKTTYPE: u32 = SKF_AD as u32 + 4;
pub(crate) const SKF_AD_IFINDEX: u32 = SKF_AD as u32 + 8;
pub(crate) const SKF_AD_HATYPE: u32 = SKF_AD as u32 + 28;
/// Not a load at all: `A ^= X`.
pub(crate) const SKF_AD_ALU_XOR_X: u32 = SKF_AD as u32 + 40;
pub(crate) const SKF_AD_VLAN_TAG: u32 = SKF_AD as u32 + 44;
pub(crate) const SKF_AD_VLAN_TAG_PRESENT: u32 = SKF_AD as u32 + 48;
pub(crate) const SKF_AD_VLAN_TPID: u32 = SKF_AD as u32 + 60;
/// A load at `SKF_NET + n` reads byte `n` from the network header on.
pub(crate) const SKF_NET: i32 = -0x10_0000;
/// A load at `SKF_LL + n` reads byte `n` from the link header on.
pub(crate) const SKF_LL: i32 = -0x20_0000;
