//! Trace files: what compresses them and how their requests are spelled.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum;

use crate::trace::{Operation, Recorder, Trace};

/// How the requests of a trace are spelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Look at the file and find out.
    Auto,
    /// Lines `start count ignored sequence`, each for `count` keys from `start` on (ARC's traces).
    Arc,
    /// A number a line; lines that begin with * are skipped (LIRS's traces).
    Lines,
    /// Keys of 32 bits each.
    U32,
    /// Keys of 64 bits each.
    U64,
    /// libCacheSim's binary records of 24 bytes: time u32, object u64, size u32, next access i64, little-endian.
    OracleGeneral,
    /// Comma-separated, with a header that names the columns (libCacheSim, Meta).
    Csv,
    /// timestamp,key,key size,value size,client,operation,TTL, without a header (Twitter's cache traces).
    Twitter,
}

/// Bytes that are looked at to find out the format.
const SAMPLE_SIZE: usize = 8192;

/// Reads a trace, at most so many requests of it.
pub fn read(path: &Path, format: Format, limit: usize) -> Result<Trace> {
    let context = || format!("cannot read {}", path.display());
    let file = std::fs::File::open(path).with_context(context)?;
    let mut input = decompressed(Box::new(file)).with_context(context)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let name = name.split('.').next().unwrap_or_default();
    read_from(&mut input, name, format, limit).with_context(context)
}

/// The input without its compression, which the first bytes tell.
fn decompressed(file: Box<dyn Read>) -> Result<Box<dyn BufRead>> {
    let mut file = BufReader::new(file);
    let magic = file.fill_buf()?;
    Ok(if magic.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        Box::new(BufReader::new(zstd::Decoder::with_buffer(file)?))
    } else if magic.starts_with(&[0xfd, b'7', b'z', b'X', b'Z']) {
        Box::new(BufReader::new(liblzma::bufread::XzDecoder::new_multi_decoder(
            file,
        )))
    } else if magic.starts_with(&[0x1f, 0x8b]) {
        Box::new(BufReader::new(flate2::bufread::MultiGzDecoder::new(file)))
    } else {
        Box::new(file)
    })
}

/// Reads a trace that is not compressed.
pub fn read_from(input: &mut dyn BufRead, name: &str, format: Format, limit: usize) -> Result<Trace> {
    let mut sample = Vec::new();
    input.take(SAMPLE_SIZE as u64).read_to_end(&mut sample)?;
    let format = match format {
        Format::Auto => guess(&sample)?,
        told => told,
    };
    let mut input = sample.as_slice().chain(input);
    let mut requests = Requests {
        recorder: Recorder::default(),
        left: limit,
    };
    match format {
        Format::Auto => unreachable!("guessed above"),
        Format::Arc => requests.read_arc(input)?,
        Format::Lines => requests.read_lines(input)?,
        Format::U32 => requests.read_keys::<4>(&mut input)?,
        Format::U64 => requests.read_keys::<8>(&mut input)?,
        Format::OracleGeneral => requests.read_oracle_general(&mut input)?,
        Format::Csv => requests.read_csv(input)?,
        Format::Twitter => requests.read_twitter(input)?,
    }
    ensure!(!requests.recorder.is_empty(), "there is no request in it");
    Ok(requests.recorder.finish(name))
}

/// What the first bytes look like.
fn guess(sample: &[u8]) -> Result<Format> {
    let is_text = sample
        .iter()
        .all(|&byte| (b' '..0x7f).contains(&byte) || byte.is_ascii_whitespace());
    if is_text {
        let text = String::from_utf8_lossy(sample);
        let line = text
            .lines()
            .find(|line| !line.starts_with('*'))
            .unwrap_or_default();
        let commas = line.matches(',').count();
        return Ok(
            if commas == 6 && line.starts_with(|first: char| first.is_ascii_digit()) {
                Format::Twitter
            } else if commas > 0 {
                Format::Csv
            } else if line.split_whitespace().count() == 4 {
                Format::Arc
            } else {
                Format::Lines
            },
        );
    }
    // Keys of 32 bits come back at odd places and at even ones; halves of keys of 64 bits stay where they are.
    // Records of oracleGeneral count up in time.
    let words: Vec<&[u8]> = sample.chunks_exact(4).collect();
    let places = |odd: usize| words.iter().skip(odd).step_by(2).copied().collect::<HashSet<_>>();
    let (even, odd) = (places(0), places(1));
    let is_narrow = even.intersection(&odd).count() * 20 > even.len().min(odd.len());
    let times: Vec<u32> = sample
        .chunks_exact(24)
        .map(|record| u32::from_le_bytes(array(record)))
        .collect();
    let is_timed = times.is_sorted() && times.len() > 1 && times.iter().all(|&time| time < 1 << 31);
    Ok(if is_timed {
        Format::OracleGeneral
    } else if is_narrow {
        Format::U32
    } else {
        Format::U64
    })
}

fn array<const SIZE: usize>(bytes: &[u8]) -> [u8; SIZE] {
    *bytes.first_chunk().expect("enough bytes")
}

fn hash(key: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    hasher.finish()
}

/// Requests on their way into the trace, up to the limit.
struct Requests {
    recorder: Recorder,
    left: usize,
}

impl Requests {
    /// Takes one more request; false when that was the last that is wanted.
    fn push(&mut self, key: u64, operation: Operation, key_size: usize, value_size: u32, ttl: u32) -> bool {
        if self.left == 0 {
            return false;
        }
        self.left -= 1;
        let key_size = key_size.clamp(1, 250) as u8;
        self.recorder.push(key, operation, key_size, value_size, ttl);
        self.left > 0
    }

    fn get(&mut self, key: u64) -> bool {
        if self.left == 0 {
            return false;
        }
        self.left -= 1;
        self.recorder.get(key);
        self.left > 0
    }

    fn read_arc(&mut self, input: impl BufRead) -> Result<()> {
        for (number, line) in input.lines().enumerate() {
            let line = line?;
            let mut words = line.split_whitespace().map(str::parse::<u64>);
            let (Some(Ok(start)), Some(Ok(count))) = (words.next(), words.next()) else {
                bail!("line {}: no start and count in {line:?}", number + 1);
            };
            if !(start..start + count).all(|key| self.get(key)) {
                return Ok(());
            }
        }
        Ok(())
    }

    fn read_lines(&mut self, input: impl BufRead) -> Result<()> {
        for line in input.lines() {
            let line = line?;
            let line = line.trim();
            if line.is_empty() || line.starts_with('*') {
                continue;
            }
            let key = line.parse().unwrap_or_else(|_| hash(line.as_bytes()));
            if !self.get(key) {
                break;
            }
        }
        Ok(())
    }

    fn read_keys<const SIZE: usize>(&mut self, input: &mut dyn BufRead) -> Result<()> {
        let mut key = [0; 8];
        while is_there(input)? {
            input
                .read_exact(&mut key[..SIZE])
                .context("the last key is cut off")?;
            if !self.get(u64::from_le_bytes(key)) {
                break;
            }
        }
        Ok(())
    }

    fn read_oracle_general(&mut self, input: &mut dyn BufRead) -> Result<()> {
        let mut record = [0; 24];
        while is_there(input)? {
            input
                .read_exact(&mut record)
                .context("the last record is cut off")?;
            let key = u64::from_le_bytes(array(&record[4..]));
            let size = u32::from_le_bytes(array(&record[12..]));
            // The size is the object's, its key included or not: taken for the value's.
            if !self.push(key, Operation::Get, 8, size, 0) {
                break;
            }
        }
        Ok(())
    }

    /// Columns by name: Meta's `key, op, op_count, key_size, size, ttl`, or libCacheSim's `obj_id, obj_size` with
    /// dashes or underscores.
    fn read_csv(&mut self, input: impl Read) -> Result<()> {
        let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(input);
        let headers = reader.headers()?.clone();
        let column = |names: &[&str]| {
            headers
                .iter()
                .position(|header| names.contains(&header.to_lowercase().replace('-', "_").as_str()))
        };
        let key = column(&["key", "obj_id", "object", "object_id", "id"]);
        let key = key.with_context(|| format!("no column of keys in the header {headers:?}"))?;
        let size = column(&["size", "obj_size", "object_size", "value_size"]);
        let (key_size, operation) = (column(&["key_size"]), column(&["op", "operation"]));
        let (repeats, ttl) = (column(&["op_count"]), column(&["ttl"]));
        let mut record = csv::StringRecord::new();
        while reader.read_record(&mut record)? {
            let number = |column: Option<usize>, default: u32| -> Result<u32> {
                match column.and_then(|column| record.get(column)) {
                    None | Some("") => Ok(default),
                    Some(text) => text
                        .parse()
                        .with_context(|| format!("{text:?} is no number in {record:?}")),
                }
            };
            let text = record.get(key).unwrap_or_default();
            let operation = match operation.and_then(|column| record.get(column)) {
                Some(name) => operation_of(name),
                None => Some(Operation::Get),
            };
            let Some(operation) = operation else { continue };
            let key_size = number(key_size, text.len() as u32)? as usize;
            let (size, ttl) = (number(size, 100)?, number(ttl, 0)?);
            for _ in 0..number(repeats, 1)? {
                if !self.push(hash(text.as_bytes()), operation, key_size, size, ttl) {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn read_twitter(&mut self, input: impl Read) -> Result<()> {
        let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(input);
        let mut record = csv::StringRecord::new();
        while reader.read_record(&mut record)? {
            let field = |column: usize| record.get(column).unwrap_or_default();
            let number = |column: usize| -> Result<u32> {
                field(column)
                    .parse()
                    .with_context(|| format!("{:?} is no number in {record:?}", field(column)))
            };
            let Some(operation) = operation_of(field(5)) else {
                continue;
            };
            let (key_size, value_size) = (number(2)? as usize, number(3)?);
            let key = hash(field(1).as_bytes());
            if !self.push(key, operation, key_size, value_size, number(6)?) {
                break;
            }
        }
        Ok(())
    }
}

fn is_there(input: &mut dyn BufRead) -> Result<bool> {
    Ok(!input.fill_buf()?.is_empty())
}

/// What a trace's word means for a cache; none if nothing (Meta's and Twitter's counters and leases count as gets
/// or sets).
fn operation_of(name: &str) -> Option<Operation> {
    match name.to_ascii_lowercase().as_str() {
        "get" | "gets" | "get_lease" | "read" => Some(Operation::Get),
        "set" | "add" | "replace" | "cas" | "set_lease" | "append" | "prepend" | "write" | "incr"
        | "decr" => Some(Operation::Set),
        "delete" | "del" => Some(Operation::Delete),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn objects(input: &[u8], format: Format) -> Vec<u32> {
        let trace = read_from(&mut &*input, "test", format, usize::MAX).expect("a trace");
        trace.accesses.iter().map(|access| access.object).collect()
    }

    #[track_caller]
    fn check(input: &[u8], want: Format, want_objects: &[u32]) {
        assert_eq!(guess(input).expect("a format"), want);
        assert_eq!(objects(input, Format::Auto), want_objects);
    }

    #[test]
    fn formats_are_recognised_and_read() {
        check(b"7 3 0 0\n8 1 0 1\n", Format::Arc, &[0, 1, 2, 1]);
        check(b"5\n*\n9\n5\n", Format::Lines, &[0, 1, 0]);
        let keys: Vec<u8> = [1u32, 2, 2, 1, 70_000, 1]
            .iter()
            .flat_map(|key| key.to_be_bytes())
            .collect();
        check(&keys, Format::U32, &[0, 1, 1, 0, 2, 0]);
        let keys = [
            0x9fd8_9d50_247f_ce4cu64,
            0x7986_94a0_9014_fb50,
            0x9fd8_9d50_247f_ce4c,
        ];
        let keys: Vec<u8> = keys.iter().flat_map(|key| key.to_be_bytes()).collect();
        check(&keys, Format::U64, &[0, 1, 0]);
        let mut records = Vec::new();
        for (time, key) in [
            (1u32, 0x1234_5678_9abc_def1u64),
            (1, 0x7777_1234_7777_1234),
            (2, 0x1234_5678_9abc_def1),
        ] {
            records.extend(time.to_le_bytes());
            records.extend(key.to_le_bytes());
            records.extend(0x0101_0101u32.to_le_bytes());
            records.extend((-1i64).to_le_bytes());
        }
        check(&records, Format::OracleGeneral, &[0, 1, 0]);
        check(
            b"0,abc,3,100,1,get,0\n0,de,2,50,1,set,60\n1,abc,3,0,1,delete,0\n",
            Format::Twitter,
            &[0, 1, 0],
        );
        check(
            b"time,obj-id,obj-size\n0,a,1\n1,b,1\n2,a,1\n",
            Format::Csv,
            &[0, 1, 0],
        );
    }

    #[test]
    fn metas_requests_repeat_and_have_sizes() {
        let text = b"op_time,key,key_size,op,op_count,size,cache_hits,ttl,usecase\n\
            6,x1,48,GET,2,87,1,0,3\n6,x2,24,SET,1,11,0,7200,3\n";
        let trace = read_from(&mut &text[..], "meta", Format::Auto, usize::MAX).expect("a trace");
        let [first, second, third] = trace.accesses[..] else {
            panic!("{trace:?}");
        };
        assert_eq!(first, second);
        assert_eq!(
            (first.value_size, first.key_size, first.operation),
            (87, 48, Operation::Get)
        );
        assert_eq!(
            (third.value_size, third.ttl, third.operation),
            (11, 7200, Operation::Set)
        );
        assert_eq!((trace.objects, trace.gets()), (2, 2));
    }

    #[test]
    fn a_limit_is_kept_and_nonsense_is_refused() {
        let trace = read_from(&mut &b"1 9 0 0\n"[..], "arc", Format::Auto, 4).expect("a trace");
        assert_eq!(trace.accesses.len(), 4);
        for (input, format) in [
            (&b""[..], Format::Auto),
            (b"1 x", Format::Arc),
            (b"123", Format::U64),
            (b"a,b\n1,2\n", Format::Csv),
            (b"1,k,x,5,1,get,0\n", Format::Twitter),
        ] {
            assert!(read_from(&mut &*input, "bad", format, 9).is_err(), "{input:?}");
        }
    }

    #[test]
    fn compression_is_recognised() {
        use std::io::Write;
        let text = b"1\n2\n1\n";
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(text).expect("memory");
        let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 1);
        xz.write_all(text).expect("memory");
        let packed = [
            text.to_vec(),
            gzip.finish().expect("memory"),
            xz.finish().expect("memory"),
            zstd::encode_all(&text[..], 1).expect("memory"),
        ];
        for packed in packed {
            let mut input = decompressed(Box::new(std::io::Cursor::new(packed))).expect("an input");
            let trace = read_from(&mut input, "packed", Format::Auto, 9).expect("a trace");
            assert_eq!((trace.accesses.len(), trace.objects), (3, 2));
        }
    }
}
