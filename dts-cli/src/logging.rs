//! Log lines to stderr or to a file.
use std::fs::File;

use dts_core::error::{Error, ErrorKind, Result};
use env_logger::{Builder, Target, WriteStyle};
use indicatif::MultiProgress;
use log::{LevelFilter, Log, Metadata, Record};

use crate::args::GlobalArgs;

/// Installs the logger.
///
/// # Errors
/// [`ErrorKind::File`] when the log file cannot be opened.
pub(crate) fn start(global: &GlobalArgs, color: bool, bars: MultiProgress) -> Result<()> {
    let usual = if global.log_file.is_some() { LevelFilter::Info } else { LevelFilter::Warn };
    let level = global.log_level.unwrap_or(usual);
    let mut builder = Builder::new();
    builder.filter_level(level).format_target(false).format_timestamp_millis();
    match &global.log_file {
        Some(path) => {
            let file = File::options().create(true).append(true).open(path).map_err(|source| {
                ErrorKind::File { action: "open the log file", path: path.display().to_string(), source }
            })?;
            builder.target(Target::Pipe(Box::new(file))).write_style(WriteStyle::Never);
        }
        None => {
            builder.write_style(if color { WriteStyle::Always } else { WriteStyle::Never });
        }
    }
    log::set_boxed_logger(Box::new(BesideBars { logger: builder.build(), bars }))
        .map_err(|error| Error::internal(error.to_string()))?;
    log::set_max_level(level);
    Ok(())
}

/// Takes progress bars off the screen while a line is written, so that neither tears the other.
struct BesideBars {
    logger: env_logger::Logger,
    bars: MultiProgress,
}

impl Log for BesideBars {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.logger.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if self.logger.matches(record) {
            self.bars.suspend(|| self.logger.log(record));
        }
    }

    fn flush(&self) {
        self.logger.flush();
    }
}
