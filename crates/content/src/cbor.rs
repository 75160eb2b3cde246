//! Deterministic CBOR (RFC 8949, section 4.2.1) on top of `minicbor`: a writer that can't fail, a reader of definite lengths,
//! and the check of values that we keep without understanding them.
//!
//! Shortest forms are not checked while reading. A parser encodes what it read and compares: only the one deterministic
//! encoding comes back the same, and no second set of rules can disagree with the writer.

use std::convert::Infallible;

use minicbor::data::Type;
use minicbor::{Decoder, Encoder, encode};

/// The bytes are not CBOR, or not of the expected type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed;

type Result<T> = std::result::Result<T, Malformed>;

/// Writes CBOR to memory.
pub(crate) struct Writer(Encoder<Vec<u8>>);

fn written<T>(result: std::result::Result<T, encode::Error<Infallible>>) {
    result.map(|_| ()).expect("memory takes every write");
}

impl Writer {
    pub fn new() -> Self {
        Self(Encoder::new(Vec::new()))
    }

    pub fn array(&mut self, len: usize) {
        written(self.0.array(len as u64));
    }

    pub fn map(&mut self, len: usize) {
        written(self.0.map(len as u64));
    }

    pub fn uint(&mut self, value: u64) {
        written(self.0.u64(value));
    }

    pub fn int(&mut self, value: i64) {
        written(self.0.i64(value));
    }

    pub fn bytes(&mut self, value: &[u8]) {
        written(self.0.bytes(value));
    }

    pub fn text(&mut self, value: &str) {
        written(self.0.str(value));
    }

    pub fn bool(&mut self, value: bool) {
        written(self.0.bool(value));
    }

    pub fn null(&mut self) {
        written(self.0.null());
    }

    /// One item that is encoded already.
    pub fn raw(&mut self, item: &[u8]) {
        self.0.writer_mut().extend_from_slice(item);
    }

    pub fn finish(self) -> Vec<u8> {
        self.0.into_writer()
    }
}

/// Reads CBOR. Nothing is allocated for a length that is only announced.
pub(crate) struct Reader<'b>(Decoder<'b>);

impl<'b> Reader<'b> {
    pub fn new(bytes: &'b [u8]) -> Self {
        Self(Decoder::new(bytes))
    }

    pub fn array(&mut self) -> Result<u64> {
        self.0.array().ok().flatten().ok_or(Malformed)
    }

    pub fn map(&mut self) -> Result<u64> {
        self.0.map().ok().flatten().ok_or(Malformed)
    }

    pub fn uint(&mut self) -> Result<u64> {
        self.0.u64().map_err(|_| Malformed)
    }

    pub fn int(&mut self) -> Result<i64> {
        self.0.i64().map_err(|_| Malformed)
    }

    pub fn bytes(&mut self) -> Result<&'b [u8]> {
        self.0.bytes().map_err(|_| Malformed)
    }

    pub fn text(&mut self) -> Result<&'b str> {
        self.0.str().map_err(|_| Malformed)
    }

    pub fn bool(&mut self) -> Result<bool> {
        self.0.bool().map_err(|_| Malformed)
    }

    /// Takes a null if one is next.
    pub fn take_null(&mut self) -> bool {
        self.next_type() == Some(Type::Null) && self.0.null().is_ok()
    }

    pub fn next_is_text(&self) -> bool {
        self.next_type() == Some(Type::String)
    }

    pub fn position(&self) -> usize {
        self.0.position()
    }

    pub fn at_end(&self) -> bool {
        self.0.position() >= self.0.input().len()
    }

    /// One item of any kind, checked as [`canonical`] says, as the bytes that it is made of.
    pub fn raw(&mut self, depth: usize) -> Result<&'b [u8]> {
        let start = self.0.position();
        let mut again = Writer::new();
        canonical(self, &mut again, depth)?;
        let item = self.0.input().get(start..self.0.position()).ok_or(Malformed)?;
        if again.finish() == item { Ok(item) } else { Err(Malformed) }
    }

    fn next_type(&self) -> Option<Type> {
        self.0.datatype().ok()
    }
}

/// Reads one item and writes it in its deterministic form. `depth` is how many more levels of tags, arrays and maps it may
/// open. Map keys must be integers, texts or byte strings, in order and each once (draft-ietf-mimi-content-08, "Data model
/// restrictions").
fn canonical(reader: &mut Reader<'_>, writer: &mut Writer, depth: usize) -> Result<()> {
    let deeper = || depth.checked_sub(1).ok_or(Malformed);
    match reader.next_type().ok_or(Malformed)? {
        Type::Bool => writer.bool(reader.bool()?),
        Type::Null => {
            reader.take_null();
            writer.null();
        }
        Type::U8 | Type::U16 | Type::U32 | Type::U64 => writer.uint(reader.uint()?),
        Type::I8 | Type::I16 | Type::I32 | Type::I64 | Type::Int => {
            let value = reader.0.int().map_err(|_| Malformed)?;
            written(writer.0.int(value));
        }
        Type::Bytes => writer.bytes(reader.bytes()?),
        Type::String => writer.text(reader.text()?),
        Type::F16 | Type::F32 | Type::F64 => canonical_float(reader, writer)?,
        Type::Undefined | Type::Simple => {
            let start = reader.position();
            reader.0.skip().map_err(|_| Malformed)?;
            let item = reader.0.input().get(start..reader.position()).ok_or(Malformed)?;
            // A two-byte form below 32 is not well-formed (RFC 8949, section 3.3).
            if matches!(item, [0xf8, 0..32]) {
                return Err(Malformed);
            }
            writer.raw(item);
        }
        Type::Tag => {
            let tag = reader.0.tag().map_err(|_| Malformed)?;
            // Tags 2 and 3 are big integers: one that fits an integer must be one.
            if matches!(tag.as_u64(), 2 | 3)
                && reader.0.probe().bytes().is_ok_and(|big| big.len() <= 8 || big.first() == Some(&0))
            {
                return Err(Malformed);
            }
            written(writer.0.tag(tag));
            canonical(reader, writer, deeper()?)?;
        }
        Type::Array => {
            let len = reader.array()?;
            written(writer.0.array(len));
            for _ in 0..len {
                canonical(reader, writer, deeper()?)?;
            }
            deeper()?;
        }
        Type::Map => {
            let len = reader.map()?;
            written(writer.0.map(len));
            let mut last: Option<&[u8]> = None;
            for _ in 0..len {
                let start = reader.position();
                match reader.next_type().ok_or(Malformed)? {
                    Type::Bytes | Type::String => {}
                    Type::U8 | Type::U16 | Type::U32 | Type::U64 | Type::I8 | Type::I16 | Type::I32 | Type::I64 => {
                        let key = reader.0.probe().i64().map_err(|_| Malformed)?;
                        if key.unsigned_abs() > MAX_INTEGER_KEY {
                            return Err(Malformed);
                        }
                    }
                    _ => return Err(Malformed),
                }
                canonical(reader, writer, deeper()?)?;
                let key = reader.0.input().get(start..reader.position()).ok_or(Malformed)?;
                if last.is_some_and(|last| last >= key) {
                    return Err(Malformed);
                }
                last = Some(key);
                canonical(reader, writer, deeper()?)?;
            }
            deeper()?;
        }
        _ => return Err(Malformed),
    }
    Ok(())
}

/// Integer keys must survive a conversion to a double: 2^53 - 1.
pub(crate) const MAX_INTEGER_KEY: u64 = (1 << 53) - 1;

/// A float in the shortest form that keeps its value; the one NaN that is allowed is the half-width quiet one.
fn canonical_float(reader: &mut Reader<'_>, writer: &mut Writer) -> Result<()> {
    let start = reader.position();
    reader.0.skip().map_err(|_| Malformed)?;
    let item = reader.0.input().get(start..reader.position()).ok_or(Malformed)?;
    let shortest = match *item {
        [0xf9, high, low] => {
            let bits = u16::from_be_bytes([high, low]);
            bits & 0x7fff <= 0x7c00 || bits == 0x7e00
        }
        [0xfa, a, b, c, d] => {
            let bits = u32::from_be_bytes([a, b, c, d]);
            !f32::from_bits(bits).is_nan() && !fits_half(bits)
        }
        [0xfb, a, b, c, d, e, f, g, h] => {
            let value = f64::from_bits(u64::from_be_bytes([a, b, c, d, e, f, g, h]));
            !value.is_nan() && f64::from(value as f32).to_bits() != value.to_bits()
        }
        _ => false,
    };
    if !shortest {
        return Err(Malformed);
    }
    writer.raw(item);
    Ok(())
}

/// True if a half-precision float holds the value of this single-precision one, which is no NaN.
fn fits_half(bits: u32) -> bool {
    let mantissa = bits & 0x007f_ffff;
    match (bits >> 23) & 0xff {
        0 => mantissa == 0,
        0xff => true,
        // Normal halves: exponents -14 to 15, ten bits of mantissa.
        113..=142 => mantissa.trailing_zeros() >= 13,
        // Subnormal halves: multiples of 2^-24.
        exponent @ 103..=112 => (mantissa | 0x0080_0000).trailing_zeros() >= 126 - exponent,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepts(item: &[u8], depth: usize) -> bool {
        let mut reader = Reader::new(item);
        reader.raw(depth).is_ok() && reader.at_end()
    }

    /// Examples of RFC 8949, appendix A, that are deterministic.
    #[test]
    fn what_is_deterministic_is_taken() {
        let good: [&[u8]; 22] = [
            &[0x00],
            &[0x17],
            &[0x18, 0x18],
            &[0x1b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
            &[0x3b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
            &[0xc2, 0x49, 1, 0, 0, 0, 0, 0, 0, 0, 0],
            &[0x20],
            &[0xf9, 0x3e, 0x00],
            &[0xfa, 0x47, 0xc3, 0x50, 0x00],
            &[0xfb, 0x3f, 0xf1, 0x99, 0x99, 0x99, 0x99, 0x99, 0x9a],
            &[0xf9, 0x00, 0x01],
            &[0xf9, 0x7c, 0x00],
            &[0xf9, 0x7e, 0x00],
            &[0xf4],
            &[0xf6],
            &[0xf7],
            &[0xf8, 0xff],
            &[0x62, 0xc3, 0xbc],
            &[0x80],
            &[0xa2, 0x01, 0x02, 0x03, 0x04],
            &[0xa2, 0x0a, 0x00, 0x18, 0x64, 0x00],
            &[0xd8, 0x20, 0x61, 0x61],
        ];
        for item in good {
            assert!(accepts(item, 3), "{item:02x?}");
        }
    }

    #[test]
    fn what_is_not_deterministic_is_refused() {
        let bad: [&[u8]; 26] = [
            &[],
            &[0x18, 0x17],
            &[0x19, 0x00, 0x18],
            &[0x38, 0x00],
            &[0x78, 0x01, 0x61],
            &[0x5f, 0x41, 0x00, 0xff],
            &[0x7f, 0xff],
            &[0x9f, 0xff],
            &[0xbf, 0xff],
            &[0x62, 0xc3, 0x28],
            &[0xc2, 0x41, 0x01],
            &[0xc3, 0x49, 0, 1, 1, 1, 1, 1, 1, 1, 1],
            &[0xa2, 0x03, 0x04, 0x01, 0x02],
            &[0xa2, 0x01, 0x02, 0x01, 0x02],
            &[0xa1, 0xf4, 0x00],
            &[0xa1, 0x80, 0x00],
            &[0xa1, 0x1b, 0x00, 0x20, 0, 0, 0, 0, 0, 0, 0x00],
            &[0xf8, 0x18],
            &[0xf9, 0x7e, 0x01],
            &[0xfa, 0x7f, 0xc0, 0x00, 0x00],
            &[0xfa, 0x3f, 0xc0, 0x00, 0x00],
            &[0xfa, 0x33, 0x80, 0x00, 0x00],
            &[0xfb, 0x3f, 0xf8, 0, 0, 0, 0, 0, 0],
            &[0xff],
            &[0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
            &[0xd8, 0x01, 0x00],
        ];
        for item in bad {
            assert!(!accepts(item, 3), "{item:02x?}");
        }
    }

    #[test]
    fn every_half_is_shortest_as_a_half_and_no_other_way() {
        for bits in 0..=u16::MAX {
            let exponent = i32::from((bits >> 10) & 0x1f);
            let mantissa = f32::from(bits & 0x3ff);
            if exponent == 31 {
                continue;
            }
            let size =
                if exponent == 0 { mantissa * 2f32.powi(-24) } else { (1024.0 + mantissa) * 2f32.powi(exponent - 25) };
            assert!(fits_half(size.to_bits()), "{bits:04x}");
            if bits & 0x7fff != 0 {
                assert!(!fits_half(size.to_bits() + 1), "{bits:04x}");
            }
        }
    }

    #[test]
    fn depth_counts_tags_arrays_and_maps() {
        assert!(accepts(&[0x00], 0));
        assert!(!accepts(&[0x80], 0));
        assert!(!accepts(&[0xa0], 0));
        assert!(!accepts(&[0xc1, 0x00], 0));
        assert!(accepts(&[0x81, 0xa1, 0x00, 0xc1, 0x00], 3));
        assert!(!accepts(&[0x81, 0xa1, 0x00, 0xc1, 0x00], 2));
        assert!(!accepts(&[&[0x81; 100_000][..], &[0x00]].concat(), 3));
    }
}
