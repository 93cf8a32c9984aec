//! One multipart body on its way to fields and files.

use std::io;

use crate::event::{Event, RequestError, RequestId};
use crate::form::charset::Text;
use crate::form::multipart::{Item, Multipart, MultipartError};
use crate::limits::Exceeded;
use crate::memory;
use crate::socket::is_short_of_descriptors;
use crate::store::TemporaryFile;
use crate::store::chunk::{BUFFER_SIZE, Chunk};
use crate::store::writer::{OpenedFile, Store, Written};

/// Pieces of a file that may be with the writer threads at a time.
const MAXIMUM_IN_FLIGHT: usize = 4;

/// The multipart body of a request that is being received.
pub(crate) struct Upload {
    request: RequestId,
    parser: Multipart,
    report_file_data: bool,
    file: Option<FileInProgress>,
    /// A file that could not be opened for want of a descriptor: its name and its file name.
    unopened: Option<(Vec<u8>, Text)>,
    /// The closing delimiter was seen; the rest of the body is of no interest.
    closed: bool,
}

/// The file that is being received.
struct FileInProgress {
    /// Until all of it has come.
    opened: Option<OpenedFile>,
    file: TemporaryFile,
    /// Where the next piece goes.
    offset: u64,
    in_flight: usize,
    /// Written, and to be reported before the file goes on.
    report: Chunk,
    failure: Option<io::Error>,
}

/// What an upload wants next.
pub(crate) enum Step {
    /// The application is to see this before it goes on.
    Event(Event),
    /// More bytes of the body.
    NeedsInput,
    /// A completion of the writer threads.
    Suspended,
    /// A descriptor, for which it is tried once more.
    NeedsDescriptor,
    /// Nothing: every field and file is there.
    Complete,
    /// Nothing: it has failed.
    Failed(RequestError),
}

impl Upload {
    pub(crate) fn new(request: RequestId, parser: Multipart, report_file_data: bool) -> Upload {
        Upload {
            request,
            parser,
            report_file_data,
            file: None,
            unopened: None,
            closed: false,
        }
    }

    /// Goes on with the input, and takes off it what is done with. `is_last`: nothing of the body
    /// comes behind the input.
    pub(crate) fn advance(&mut self, input: &mut Chunk, is_last: bool, store: &mut Store) -> Step {
        loop {
            if let Some((name, file_name)) = self.unopened.take() {
                return match self.open(store) {
                    Ok(file) => self.opened(name, file_name, file),
                    Err(error) => Step::store_failed(error),
                };
            }
            if let Some(step) = self.advance_file() {
                return step;
            }
            if self.closed {
                return skip_epilogue(input, is_last);
            }
            let step = match self.parser.next(input.bytes()) {
                Ok(step) => step,
                Err(error) => return Step::Failed(error.into()),
            };
            let data = match &step.item {
                Item::FileData(range) => Some(input.part(range.clone())),
                _ => None,
            };
            input.advance(step.consumed);
            let next = match step.item {
                Item::Field { name, value } => Some(Step::Event(Event::Field {
                    request: self.request,
                    name,
                    value,
                })),
                Item::FileStart { name, file_name } => Some(match self.open(store) {
                    Ok(file) => self.opened(name, file_name, file),
                    Err(error) if is_short_of_descriptors(&error) => {
                        self.unopened = Some((name, file_name));
                        Step::NeedsDescriptor
                    }
                    Err(error) => Step::store_failed(error),
                }),
                Item::FileData(_) => data.and_then(|data| self.write(data, store)),
                Item::FileEnd => self.complete_file(store),
                Item::End => {
                    self.closed = true;
                    None
                }
                Item::NeedMore if is_last => Some(self.finish(input)),
                Item::NeedMore => Some(Step::NeedsInput),
            };
            if let Some(step) = next {
                return step;
            }
        }
    }

    /// A piece that was with the writer threads came back.
    pub(crate) fn written(&mut self, chunk: Chunk, result: io::Result<()>) {
        let Some(file) = &mut self.file else {
            return;
        };
        file.in_flight -= 1;
        match result {
            Ok(()) if self.report_file_data => file.report = chunk,
            Ok(()) => {}
            Err(error) => file.failure = Some(error),
        }
    }

    /// Copies what waits to be reported, so that its buffer can be used by others.
    pub(crate) fn compact(&mut self) -> Result<(), Exceeded> {
        match &mut self.file {
            Some(file) => file.report.compact(),
            None => Ok(()),
        }
    }

    /// What has to happen to the file before the parser may go on.
    fn advance_file(&mut self) -> Option<Step> {
        let file = self.file.as_mut()?;
        if let Some(error) = file.failure.take() {
            return Some(Step::store_failed(error));
        }
        if !file.report.is_empty() {
            return Some(match file.report_next(self.request) {
                Ok(event) => Step::Event(event),
                Err(exceeded) => Step::Failed(RequestError::Exceeded(exceeded)),
            });
        }
        let is_complete = file.opened.is_none();
        let most_in_flight = match (is_complete, self.report_file_data) {
            // The last write is over, and it is closed, before the file is reported complete, and
            // each write before its data is reported.
            (true, _) | (_, true) => 0,
            _ => MAXIMUM_IN_FLIGHT - 1,
        };
        if file.in_flight > most_in_flight {
            return Some(Step::Suspended);
        }
        if !is_complete {
            return None;
        }
        file.file.complete();
        let size = file.file.size();
        self.file = None;
        Some(Step::Event(Event::FileReceived {
            request: self.request,
            size,
        }))
    }

    fn opened(&self, name: Vec<u8>, file_name: Text, file: TemporaryFile) -> Step {
        Step::Event(Event::FileOpened {
            request: self.request,
            name,
            file_name,
            file,
        })
    }

    fn open(&mut self, store: &mut Store) -> io::Result<TemporaryFile> {
        let (file, opened) = store.create()?;
        self.file = Some(FileInProgress {
            opened: Some(opened),
            file: file.clone(),
            offset: 0,
            in_flight: 0,
            report: Chunk::default(),
            failure: None,
        });
        Ok(file)
    }

    fn write(&mut self, data: Chunk, store: &mut Store) -> Option<Step> {
        let file = self.file.as_mut()?;
        let opened = file.opened.as_mut()?;
        let offset = file.offset;
        file.offset += data.len() as u64;
        let report = self.report_file_data.then(|| data.clone());
        match store.write(self.request, opened, data, offset) {
            Ok(Written::Now) => {
                file.report = report.unwrap_or_default();
                None
            }
            Ok(Written::Later) => {
                file.in_flight += 1;
                None
            }
            Err(error) => Some(Step::store_failed(error)),
        }
    }

    fn complete_file(&mut self, store: &mut Store) -> Option<Step> {
        let file = self.file.as_mut()?;
        match store.close(self.request, file.opened.take()?) {
            Ok(Written::Now) => None,
            Ok(Written::Later) => {
                file.in_flight += 1;
                None
            }
            Err(error) => Some(Step::store_failed(error)),
        }
    }

    /// The parser was offered the body up to its end and wants more.
    fn finish(&mut self, input: &mut Chunk) -> Step {
        if let Err(error) = self.parser.finish() {
            return Step::Failed(error.into());
        }
        skip_epilogue(input, true)
    }
}

/// The closing delimiter was seen: whatever follows is ignored (RFC 2046 §5.1.1).
fn skip_epilogue(input: &mut Chunk, is_last: bool) -> Step {
    *input = Chunk::default();
    match is_last {
        true => Step::Complete,
        false => Step::NeedsInput,
    }
}

impl FileInProgress {
    fn report_next(&mut self, request: RequestId) -> Result<Event, Exceeded> {
        // A read buffer is larger than BUFFER_SIZE where limits were raised beyond it.
        let part = self.report.part(0..BUFFER_SIZE.min(self.report.len()));
        let data = memory::copy(part.bytes())?;
        self.report.advance(data.len());
        Ok(Event::FileData {
            request,
            data,
            size: self.file.size() - self.report.len() as u64,
        })
    }
}

impl Step {
    fn store_failed(error: io::Error) -> Step {
        Step::Failed(RequestError::Store(error))
    }
}

impl From<MultipartError> for RequestError {
    fn from(error: MultipartError) -> RequestError {
        match error {
            MultipartError::Exceeded(exceeded) => RequestError::Exceeded(exceeded),
            other => RequestError::Malformed(other),
        }
    }
}
