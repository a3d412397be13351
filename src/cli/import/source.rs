//! Files that are imported, plain or compressed with gzip.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;

/// The first two bytes of a gzip file (RFC 1952, section 2.3.1).
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// Opens a file; what it holds, not its name, says whether it is compressed.
pub(super) fn open(path: &Path) -> Result<Box<dyn BufRead>, String> {
    let unreadable = |error: std::io::Error| format!("can't be read: {error}");
    let mut file = BufReader::new(File::open(path).map_err(unreadable)?);
    let is_gzip = file.fill_buf().map_err(unreadable)?.starts_with(&GZIP);
    Ok(if is_gzip { Box::new(BufReader::new(MultiGzDecoder::new(file))) } else { Box::new(file) })
}

/// Reads a line without its end; `None` at the end of the file. A line of more than `bytes_max` bytes is an error.
pub(super) fn line(file: &mut dyn BufRead, bytes_max: u64) -> Result<Option<String>, String> {
    let mut bytes = Vec::new();
    let unreadable = |error: std::io::Error| format!("can't be read: {error}");
    let read = file.take(bytes_max + 1).read_until(b'\n', &mut bytes).map_err(unreadable)?;
    if read == 0 {
        return Ok(None);
    }
    if read as u64 > bytes_max {
        return Err(format!("is longer than {bytes_max} bytes"));
    }
    while bytes.last().is_some_and(|byte| matches!(byte, b'\n' | b'\r')) {
        bytes.pop();
    }
    String::from_utf8(bytes).map(Some).map_err(|_| "is not UTF-8".to_owned())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn file(bytes: &[u8]) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    #[test]
    fn plain_and_compressed_files_read_alike() {
        let text = b"one\r\n\ntwo";
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(text).unwrap();
        for bytes in [text.to_vec(), encoder.finish().unwrap()] {
            let file = file(&bytes);
            let mut lines = open(file.path()).unwrap();
            let mut next = || line(&mut *lines, 3 + 2).unwrap();
            assert_eq!(
                [next(), next(), next(), next()],
                [Some("one".into()), Some("".into()), Some("two".into()), None]
            );
        }
    }

    #[test]
    fn what_can_not_be_read_says_why() {
        assert!(open(Path::new("/nowhere/at/all")).err().unwrap().contains("can't be read"));
        for (bytes, why) in [(&b"four"[..], "longer"), (b"\xff", "UTF-8")] {
            let mut lines = open(file(bytes).path()).unwrap();
            assert!(line(&mut *lines, 3).unwrap_err().contains(why));
        }
        let mut truncated = open(file(&[0x1f, 0x8b, 8, 0]).path()).unwrap();
        assert!(line(&mut *truncated, 3).unwrap_err().contains("can't be read"));
    }
}
