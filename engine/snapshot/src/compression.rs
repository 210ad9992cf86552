//! The three ways to write a snapshot file (`snapshot.compression.method`), and recognising them when reading, whatever
//! the setting is.
//!
//! Snappy files are the framed stream of the Java library: eight bytes of magic, two version numbers, then blocks of at most
//! 32 KiB, each with its compressed length in front.

use std::{
    borrow::Cow,
    io::{self, Read as _, Write},
};

/// How a snapshot file is compressed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// gzip, `.gz`.
    Gz,
    /// Snappy, `.snappy`.
    Snappy,
}

const GZ_MAGIC: [u8; 2] = [0x1F, 0x8B];
const SNAPPY_MAGIC: [u8; 8] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];
const SNAPPY_HEADER_BYTES: usize = 16;
const SNAPPY_BLOCK_BYTES: usize = 32 << 10;

impl Compression {
    /// What the file's first bytes say.
    pub fn of(bytes: &[u8]) -> Compression {
        if bytes.starts_with(&GZ_MAGIC) {
            Compression::Gz
        } else if bytes.starts_with(&SNAPPY_MAGIC) {
            Compression::Snappy
        } else {
            Compression::None
        }
    }

    /// What is appended to the file's name.
    pub fn extension(self) -> &'static str {
        match self {
            Compression::None => "",
            Compression::Gz => ".gz",
            Compression::Snappy => ".snappy",
        }
    }
}

/// The uncompressed bytes of a snapshot file.
pub fn expand(bytes: &[u8]) -> io::Result<Cow<'_, [u8]>> {
    match Compression::of(bytes) {
        Compression::None => Ok(Cow::Borrowed(bytes)),
        Compression::Gz => {
            let mut out = Vec::new();
            flate2::read::MultiGzDecoder::new(bytes).read_to_end(&mut out)?;
            Ok(Cow::Owned(out))
        }
        Compression::Snappy => expand_snappy(bytes).map(Cow::Owned),
    }
}

fn expand_snappy(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let bad = |what: &str| io::Error::new(io::ErrorKind::InvalidData, format!("snappy stream: {what}"));
    let mut rest = bytes.get(SNAPPY_HEADER_BYTES..).ok_or_else(|| bad("the header is incomplete"))?;
    let mut decoder = snap::raw::Decoder::new();
    let mut out = Vec::new();
    while !rest.is_empty() {
        let (length, behind) = rest.split_first_chunk::<4>().ok_or_else(|| bad("a block's length is incomplete"))?;
        let length = u32::from_be_bytes(*length) as usize;
        if behind.len() < length {
            return Err(bad("a block is incomplete"));
        }
        let (block, behind) = behind.split_at(length);
        let size = snap::raw::decompress_len(block).map_err(|error| bad(&error.to_string()))?;
        // A snappy element of three bytes can stand for 64: no block expands further.
        if size > block.len().saturating_mul(64) {
            return Err(bad("a block claims to be larger than it can be"));
        }
        let start = out.len();
        out.resize(start + size, 0);
        decoder.decompress(block, &mut out[start..]).map_err(|error| bad(&error.to_string()))?;
        rest = behind;
    }
    Ok(out)
}

/// Compresses what is written to it.
pub enum Encoder<W: Write> {
    /// As it is.
    Plain(W),
    /// gzip.
    Gz(flate2::write::GzEncoder<W>),
    /// xerial's framing of snappy.
    Snappy(Box<SnappyEncoder<W>>),
}

/// Collects blocks and writes them compressed.
pub struct SnappyEncoder<W> {
    out: W,
    block: Vec<u8>,
    compressed: Vec<u8>,
    encoder: snap::raw::Encoder,
    started: bool,
}

impl<W: Write> Encoder<W> {
    /// Compresses into `out`.
    pub fn new(out: W, compression: Compression) -> Encoder<W> {
        match compression {
            Compression::None => Encoder::Plain(out),
            Compression::Gz => Encoder::Gz(flate2::write::GzEncoder::new(out, flate2::Compression::default())),
            Compression::Snappy => Encoder::Snappy(Box::new(SnappyEncoder {
                out,
                block: Vec::new(),
                compressed: vec![0; snap::raw::max_compress_len(SNAPPY_BLOCK_BYTES)],
                encoder: snap::raw::Encoder::new(),
                started: false,
            })),
        }
    }

    /// Writes what is held back and gives the inner writer back, flushed.
    pub fn finish(self) -> io::Result<W> {
        let mut out = match self {
            Encoder::Plain(out) => out,
            Encoder::Gz(gz) => gz.finish()?,
            Encoder::Snappy(mut snappy) => {
                snappy.emit()?;
                snappy.out
            }
        };
        out.flush()?;
        Ok(out)
    }
}

impl<W: Write> SnappyEncoder<W> {
    fn emit(&mut self) -> io::Result<()> {
        if !self.started {
            self.started = true;
            self.out.write_all(&SNAPPY_MAGIC)?;
            // Version, and the oldest compatible one.
            self.out.write_all(&[0, 0, 0, 1, 0, 0, 0, 1])?;
        }
        if !self.block.is_empty() {
            let size = self.encoder.compress(&self.block, &mut self.compressed).map_err(io::Error::other)?;
            self.out.write_all(&(size as u32).to_be_bytes())?;
            self.out.write_all(&self.compressed[..size])?;
            self.block.clear();
        }
        Ok(())
    }
}

impl<W: Write> Write for Encoder<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Encoder::Plain(out) => out.write(bytes),
            Encoder::Gz(gz) => gz.write(bytes),
            Encoder::Snappy(snappy) => {
                if snappy.block.len() == SNAPPY_BLOCK_BYTES {
                    snappy.emit()?;
                }
                let room = (SNAPPY_BLOCK_BYTES - snappy.block.len()).min(bytes.len());
                snappy.block.extend_from_slice(&bytes[..room]);
                Ok(room)
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Encoder::Plain(out) => out.flush(),
            Encoder::Gz(gz) => gz.flush(),
            Encoder::Snappy(snappy) => snappy.out.flush(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compress(bytes: &[u8], compression: Compression) -> Vec<u8> {
        let mut encoder = Encoder::new(Vec::new(), compression);
        for piece in bytes.chunks(7000) {
            encoder.write_all(piece).unwrap();
        }
        encoder.finish().unwrap()
    }

    #[test]
    fn every_method_gives_back_what_was_written_and_is_recognised() {
        for size in [0, 1, 32767, 32768, 32769, 200_000] {
            let bytes: Vec<u8> = (0..size).map(|at: u64| (at / 3 + at * at % 7) as u8).collect();
            for compression in [Compression::None, Compression::Gz, Compression::Snappy] {
                let packed = compress(&bytes, compression);
                assert_eq!(Compression::of(&packed), compression);
                assert_eq!(&*expand(&packed).unwrap(), bytes);
            }
        }
    }

    #[test]
    fn a_stream_cut_anywhere_or_lying_about_sizes_is_an_error_or_shorter() {
        let bytes: Vec<u8> = (0..100_000_u32).map(|at| (at % 251) as u8).collect();
        for compression in [Compression::Gz, Compression::Snappy] {
            let packed = compress(&bytes, compression);
            for cut in (8..packed.len()).step_by(97) {
                assert!(expand(&packed[..cut]).is_err() || expand(&packed[..cut]).unwrap().len() < bytes.len());
            }
        }
        let mut huge = compress(b"x", Compression::Snappy);
        huge.truncate(20);
        huge.splice(16.., [0, 0, 0, 5, 0xFF, 0xFF, 0xFF, 0xFF, 0x0F]);
        assert!(expand(&huge).is_err());
    }
}
