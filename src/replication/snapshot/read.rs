//! Reading a snapshot: frame by frame, decoded by several threads, restored by one.

use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, Sender, SyncSender};
use std::thread;

use super::{BUFFER_BYTES, SnapshotError, SnapshotHeader, SnapshotTrailer};
use crate::ledger::{Header, Ledger, Packed, Prepared, Record, Restoring};
use crate::replication::codec::{CodecError, Frame, Kind};

/// Threads that decode: one alone is slower than the one that restores.
const DECODERS: usize = 2;
/// Frames that wait for one of them, and runs of records that wait behind it, at most.
const AHEAD: usize = 2;

/// The content of a snapshot, read frame by frame.
pub struct Content<R> {
    file: PathBuf,
    reader: R,
    /// Over all that was read.
    checksum: u32,
    /// How many there are, once the end was read.
    records: Option<u64>,
}

impl<R: Read> Content<BufReader<R>> {
    pub fn open(file: &Path, reader: R) -> Content<BufReader<R>> {
        let reader = BufReader::with_capacity(BUFFER_BYTES, reader);
        Content { file: file.to_owned(), reader, checksum: 0, records: None }
    }

    pub fn header(&mut self) -> Result<SnapshotHeader, SnapshotError> {
        let frame = self.frame()?;
        self.checksum = crc32c::crc32c_append(self.checksum, frame.bytes());
        frame.decode(Kind::SnapshotHeader).map_err(SnapshotError::codec(&self.file))
    }

    fn frame(&mut self) -> Result<Frame, SnapshotError> {
        match Frame::read(&mut self.reader) {
            Ok(Some(frame)) => Ok(frame),
            Ok(None) => Err(incomplete(&self.file, "it ends early")),
            Err(error) => Err(SnapshotError::read(&self.file, error)),
        }
    }

    /// The next frame of records; `None` behind an end that agrees with all bytes before it.
    fn next_frame(&mut self) -> Result<Option<Frame>, SnapshotError> {
        let frame = self.frame()?;
        if frame.kind() != Some(Kind::SnapshotTrailer) {
            self.checksum = crc32c::crc32c_append(self.checksum, frame.bytes());
            return Ok(Some(frame));
        }
        let trailer: SnapshotTrailer =
            frame.decode(Kind::SnapshotTrailer).map_err(SnapshotError::codec(&self.file))?;
        if trailer.checksum != self.checksum {
            return Err(unlike_its_end(&self.file));
        }
        self.records = Some(trailer.records);
        match Frame::read(&mut self.reader) {
            Ok(None) => Ok(None),
            _ => Err(incomplete(&self.file, "more follows its end")),
        }
    }

    /// Reads all frames and compares their checksums, and the one over all of them, which it gives.
    pub fn check(mut self) -> Result<u32, SnapshotError> {
        while self.next_frame()?.is_some() {}
        Ok(self.checksum)
    }

    /// Reads and decodes all records, and tells what was wrong.
    pub fn read_to_end(mut self) -> Result<(), SnapshotError> {
        let mut found = 0;
        while let Some(frame) = self.next_frame()? {
            let read = records(&frame, |bytes| Packed::read(bytes).map(drop), drop);
            found += read.map_err(SnapshotError::codec(&self.file))?.len() as u64;
        }
        if self.records == Some(found) { Ok(()) } else { Err(unlike_its_end(&self.file)) }
    }

    /// Gives each decoder its frames in turn, to the end or until one of them is gone; tells how many records there are.
    fn hand_out(mut self, decoders: Vec<SyncSender<Frame>>) -> Result<Option<u64>, SnapshotError> {
        let mut turns = decoders.iter().cycle();
        while let Some(frame) = self.next_frame()? {
            let decoder = turns.next().expect("there are decoders");
            if decoder.send(frame).is_err() {
                break;
            }
        }
        Ok(self.records)
    }
}

impl<R: Read + Send> Content<BufReader<R>> {
    /// The ledger whose records follow.
    pub fn restore(self, header: Header) -> Result<Ledger, SnapshotError> {
        let file = self.file.clone();
        thread::scope(|scope| {
            let not_spawned = |error| SnapshotError::io(&file)(error);
            let mut decoders = Vec::new();
            let mut frames = Vec::new();
            for _ in 0..DECODERS {
                let (to_decode, decoder, work) = decoder(&file);
                match thread::Builder::new().name("decode".into()).spawn_scoped(scope, work) {
                    Ok(_) => decoders.push(decoder),
                    Err(error) => return Err(not_spawned(error)),
                }
                frames.push(to_decode);
            }
            let read = move || self.hand_out(frames);
            let reading =
                thread::Builder::new().name("read".into()).spawn_scoped(scope, read).map_err(not_spawned)?;
            let restored = restore(header, &file, decoders);
            // What stopped the records early is the cause of what the ledger then misses.
            let announced = reading.join().expect("damage is told, not panicked about")?;
            let (ledger, found) = restored?;
            if announced == Some(found) { Ok(ledger) } else { Err(unlike_its_end(&file)) }
        })
    }
}

/// The end of a thread's work at which its runs come out.
struct Decoder {
    runs: Receiver<Result<Vec<Prepared>, SnapshotError>>,
    /// Takes back what is left of a run: where it was allocated, its memory is at hand for what comes next.
    spent: Sender<Vec<Prepared>>,
}

/// Where frames are sent to, where their records come out, and the work between, which ends when either is gone.
fn decoder(file: &Path) -> (SyncSender<Frame>, Decoder, impl FnOnce() + Send + use<>) {
    let (to_decode, frames) = mpsc::sync_channel::<Frame>(AHEAD);
    let (decoded, runs) = mpsc::sync_channel(AHEAD);
    let (spent, left) = mpsc::channel();
    let file = file.to_owned();
    let work = move || {
        for frame in frames {
            left.try_iter().for_each(drop::<Vec<Prepared>>);
            let run = records(&frame, Prepared::unpack, Prepared::from);
            if decoded.send(run.map_err(SnapshotError::codec(&file))).is_err() {
                return;
            }
        }
    };
    (to_decode, Decoder { runs, spent }, work)
}

/// The ledger with the records that come from the decoders in turn, and how many came.
fn restore(header: Header, file: &Path, decoders: Vec<Decoder>) -> Result<(Ledger, u64), SnapshotError> {
    let damaged = |damage| SnapshotError::Ledger { file: file.to_owned(), source: Box::new(damage) };
    let mut restoring = Restoring::new(header);
    let mut found = 0;
    for decoder in decoders.iter().cycle() {
        // Whose turn it is has nothing: all has come.
        let Ok(run) = decoder.runs.recv() else { break };
        let mut run = run?;
        found += run.len() as u64;
        run.iter_mut().try_for_each(|record| restoring.put(record)).map_err(damaged)?;
        // Once all is read nobody waits for it, and it is dropped here.
        let _ = decoder.spent.send(run);
    }
    Ok((restoring.finish().map_err(damaged)?, found))
}

/// What becomes of a frame's records, be they packed or not.
fn records<T>(
    frame: &Frame,
    packed: impl Fn(&[u8]) -> Option<T>,
    plain: impl Fn(Record) -> T,
) -> Result<Vec<T>, CodecError> {
    if frame.kind() == Some(Kind::SnapshotReservations) {
        let unreadable =
            || CodecError::Undecodable { reason: "a reservation is none that this build can read".into() };
        let parts = frame.parts(Kind::SnapshotReservations)?;
        return parts.map(|part| packed(part?).ok_or_else(unreadable)).collect();
    }
    let records: Vec<Record> = frame.decode_run(Kind::SnapshotRecords)?;
    Ok(records.into_iter().map(plain).collect())
}

fn unlike_its_end(file: &Path) -> SnapshotError {
    incomplete(file, "its records don't agree with its end")
}

fn incomplete(file: &Path, reason: &str) -> SnapshotError {
    SnapshotError::Incomplete { file: file.to_owned(), reason: reason.into() }
}
