//! One multipart body on its way to fields and files.

use std::io;

use crate::event::{Event, RequestError, RequestId};
use crate::form::multipart::{Item, Multipart, MultipartError};
use crate::store::TemporaryFile;
use crate::store::chunk::{BUFFER_SIZE, Chunk};
use crate::store::writer::{OpenedFile, Store, Written};

/// Pieces of a file that may be with the writer threads at a time.
const MAXIMUM_IN_FLIGHT: usize = 4;

/// The multipart body of a request that is being received.
pub(crate) struct Upload {
    request: RequestId,
    parser: Multipart,
    /// Bytes of the body that the parser has not taken yet.
    body_left: u64,
    report_file_data: bool,
    file: Option<FileInProgress>,
    /// The closing delimiter was seen; the rest of the body is of no interest.
    closed: bool,
}

/// The file that is being received.
struct FileInProgress {
    opened: OpenedFile,
    /// Where the next piece goes.
    offset: u64,
    in_flight: usize,
    /// Written, and to be reported before the file goes on.
    report: Chunk,
    complete: bool,
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
    /// Nothing: every field and file is there.
    Complete,
    /// Nothing: it has failed.
    Failed(RequestError),
}

impl Upload {
    pub(crate) fn new(
        request: RequestId,
        parser: Multipart,
        length: u64,
        report_file_data: bool,
    ) -> Upload {
        Upload {
            request,
            parser,
            body_left: length,
            report_file_data,
            file: None,
            closed: false,
        }
    }

    /// Goes on with the input, and takes off it what is done with.
    pub(crate) fn advance(&mut self, input: &mut Chunk, store: &mut Store) -> Step {
        loop {
            if let Some(step) = self.advance_file() {
                return step;
            }
            if self.closed {
                return self.skip_epilogue(input);
            }
            let offered = self.offered(input);
            let step = match self.parser.next(&input.bytes()[..offered]) {
                Ok(step) => step,
                Err(error) => return Step::Failed(error.into()),
            };
            let is_whole_rest = offered as u64 == self.body_left;
            let data = match &step.item {
                Item::FileData(range) => Some(input.part(range.clone())),
                _ => None,
            };
            input.advance(step.consumed);
            self.body_left -= step.consumed as u64;
            let next = match step.item {
                Item::Field { name, value } => Some(Step::Event(Event::Field {
                    request: self.request,
                    name,
                    value,
                })),
                Item::FileStart { name, file_name } => {
                    Some(self.open(store).map_or_else(Step::store_failed, |file| {
                        Step::Event(Event::FileOpened {
                            request: self.request,
                            name,
                            file_name,
                            file,
                        })
                    }))
                }
                Item::FileData(_) => data.and_then(|data| self.write(data, store)),
                Item::FileEnd => {
                    self.complete_file();
                    None
                }
                Item::End => {
                    self.closed = true;
                    None
                }
                Item::NeedMore if is_whole_rest => Some(self.finish(input)),
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
    pub(crate) fn compact(&mut self) {
        if let Some(file) = &mut self.file {
            file.report.compact();
        }
    }

    fn offered(&self, input: &Chunk) -> usize {
        let length = input.len() as u64;
        // No more than the length of the input, so it fits.
        length.min(self.body_left) as usize
    }

    /// What has to happen to the file before the parser may go on.
    fn advance_file(&mut self) -> Option<Step> {
        let file = self.file.as_mut()?;
        if let Some(error) = file.failure.take() {
            return Some(Step::store_failed(error));
        }
        if !file.report.is_empty() {
            return Some(Step::Event(file.report_next(self.request)));
        }
        let most_in_flight = match (file.complete, self.report_file_data) {
            // The last write is over before the file is reported complete, and each write before
            // its data is reported.
            (true, _) | (_, true) => 0,
            _ => MAXIMUM_IN_FLIGHT - 1,
        };
        if file.in_flight > most_in_flight {
            return Some(Step::Suspended);
        }
        if !file.complete {
            return None;
        }
        file.opened.file.complete();
        let size = file.opened.file.size();
        self.file = None;
        Some(Step::Event(Event::FileReceived {
            request: self.request,
            size,
        }))
    }

    fn open(&mut self, store: &mut Store) -> io::Result<TemporaryFile> {
        let (file, opened) = store.create()?;
        self.file = Some(FileInProgress {
            opened,
            offset: 0,
            in_flight: 0,
            report: Chunk::default(),
            complete: false,
            failure: None,
        });
        Ok(file)
    }

    fn write(&mut self, data: Chunk, store: &mut Store) -> Option<Step> {
        let file = self.file.as_mut()?;
        let offset = file.offset;
        file.offset += data.len() as u64;
        let report = self.report_file_data.then(|| data.clone());
        match store.write(self.request, &file.opened, data, offset) {
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

    fn complete_file(&mut self) {
        if let Some(file) = &mut self.file {
            file.complete = true;
        }
    }

    fn skip_epilogue(&mut self, input: &mut Chunk) -> Step {
        let skipped = self.offered(input);
        input.advance(skipped);
        self.body_left -= skipped as u64;
        if self.body_left > 0 {
            return Step::NeedsInput;
        }
        Step::Complete
    }

    /// The parser was offered the body up to its end and wants more.
    fn finish(&mut self, input: &mut Chunk) -> Step {
        if let Err(error) = self.parser.finish() {
            return Step::Failed(error.into());
        }
        self.skip_epilogue(input)
    }
}

impl FileInProgress {
    fn report_next(&mut self, request: RequestId) -> Event {
        // A read buffer is larger than BUFFER_SIZE where limits were raised beyond it.
        let data = self.report.part(0..BUFFER_SIZE.min(self.report.len()));
        self.report.advance(data.len());
        Event::FileData {
            request,
            data: data.bytes().to_vec(),
            size: self.opened.file.size() - self.report.len() as u64,
        }
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
