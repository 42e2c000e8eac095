//! Plots of progress over time, as SVG.
//!
//! Nobody counts while a task rests: a line ends there and begins again. Each run counts its transactions anew; of the copy it
//! first counts what earlier runs copied, so that only what goes beyond these was copied then. Rates are taken over windows,
//! lag and spool are the largest value of a window, so that thinning a long history hides no peak.
use jiff::Timestamp;
use plotters::prelude::*;

use crate::output::format::{bytes, duration, per_second};
use crate::store::KeptSample;

/// More windows than this show nothing more.
const WINDOWS: f64 = 160.0;
/// The shortest window of a rate, in seconds: chunks come in steps.
const WINDOW_LEAST: f64 = 1.0;
/// Nobody counted when samples are further apart than this, in seconds.
const GAP: f64 = 8.0;
/// Sizes for a screen and for a phone: text in a picture shrinks with it.
const WIDE: (u32, u32) = (1040, 190);
const NARROW: (u32, u32) = (360, 190);
/// The steps that are shown behind the lines, with their colours; the page's legend has the same.
const BANDS: [(&str, RGBColor); 4] = [
    ("full_load", RGBColor(0x3b, 0x82, 0xf6)),
    ("catch_up", RGBColor(0xf5, 0x9e, 0x0b)),
    ("index_build", RGBColor(0xa8, 0x55, 0xf7)),
    ("in_sync", RGBColor(0x22, 0xc5, 0x5e)),
];
/// Readable on white and on black.
const LINE: RGBColor = RGBColor(0x2f, 0x7d, 0xd1);
/// The page gives lines and text of this colour its own, by what the SVG says.
const INK: RGBColor = RGBColor(0x80, 0x80, 0x80);

/// A plot with what it says in words.
#[derive(Clone, Debug)]
pub(super) struct Figure {
    pub(super) title: &'static str,
    pub(super) caption: String,
    /// SVG for a screen.
    pub(super) wide: String,
    /// SVG for a phone.
    pub(super) narrow: String,
}

/// A sample with its time in seconds.
struct Point<'s> {
    /// Which of the samples.
    number: usize,
    at: f64,
    sample: &'s KeptSample,
}

/// What an axis counts.
#[derive(Clone, Copy)]
enum Kind {
    Number,
    /// Bytes.
    Size,
}

type Segments = Vec<Vec<(f64, f64)>>;

/// Returns the plots; none of less than two samples.
pub(super) fn figures(samples: &[KeptSample]) -> Vec<Figure> {
    let points: Vec<Point<'_>> = samples
        .iter()
        .enumerate()
        .filter_map(|(number, sample)| {
            let at: Timestamp = sample.at.parse().ok()?;
            #[allow(clippy::cast_precision_loss, reason = "a time to be drawn")]
            Some(Point { number, at: at.as_millisecond() as f64 / 1000.0, sample })
        })
        .collect();
    let (Some(first), Some(last)) = (points.first(), points.last()) else { return Vec::new() };
    // A clock that was set back draws nothing backwards.
    if last.at <= first.at {
        return Vec::new();
    }
    let frame = Frame::new(&points, first, last);
    let mut figures = Vec::new();
    #[allow(clippy::cast_precision_loss, reason = "values to be drawn")]
    let mut add = |title, mut segments: Segments, kind: Kind, in_words: &dyn Fn(f64) -> String| {
        let values = segments.iter().flatten().map(|point| point.1);
        let (mut largest, mut sum, mut count) = (0.0_f64, 0.0, 0.0);
        for value in values {
            (largest, sum, count) = (largest.max(value), sum + value, count + 1.0);
        }
        if count == 0.0 || largest <= 0.0 {
            return;
        }
        let caption = format!(
            "largest {}, on average {}; {} since {} UTC",
            in_words(largest),
            in_words(sum / count),
            frame.unit.1,
            first.sample.at.get(..19).unwrap_or_default().replace('T', " "),
        );
        // The axis is divided where numbers are round, and sizes are round in units of 1024.
        let unit = match kind {
            Kind::Number => 1.0,
            Kind::Size => 1024_f64.powf(largest.log(1024.0).floor()),
        };
        segments.iter_mut().flatten().for_each(|point| point.1 /= unit);
        let label = |value: f64| in_words(value * unit);
        let draw = |size| draw(size, &frame, &segments, largest / unit * 1.1, &label).unwrap_or_default();
        figures.push(Figure { title, caption, wide: draw(WIDE), narrow: draw(NARROW) });
    };
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "never negative, and `as` keeps to the limits of u64"
    )]
    let size = |value: f64| bytes(value as u64);
    let rows = reached(samples, |sample| sample.rows_done);
    add("Rows copied", frame.rates(&points, &rows, is_copy), Kind::Number, &per_second);
    let copied = reached(samples, |sample| sample.bytes_done);
    add("Bytes copied", frame.rates(&points, &copied, is_copy), Kind::Size, &|value| {
        format!("{}/s", size(value))
    });
    let transactions: Vec<u64> = samples.iter().map(|sample| sample.transactions_applied).collect();
    add("Transactions applied", frame.rates(&points, &transactions, |_| true), Kind::Number, &per_second);
    add("Lag", frame.levels(&points, |sample| sample.lag_seconds), Kind::Number, &in_seconds);
    #[allow(clippy::cast_precision_loss, reason = "a size to be drawn")]
    let spool = |sample: &KeptSample| Some(sample.spool_bytes as f64);
    add("Binary log in the spool", frame.levels(&points, spool), Kind::Size, &size);
    figures
}

fn is_copy(sample: &KeptSample) -> bool {
    sample.step.as_deref() == Some("full_load")
}

/// Returns the most that a counter had reached at each sample.
fn reached(samples: &[KeptSample], counter: impl Fn(&KeptSample) -> u64) -> Vec<u64> {
    let largest = |largest: &mut u64, sample| {
        *largest = (*largest).max(counter(sample));
        Some(*largest)
    };
    samples.iter().scan(0, largest).collect()
}

/// Returns the steps that have a colour, and the colours, as CSS has them.
pub(super) fn legend() -> Vec<(&'static str, String)> {
    BANDS.iter().map(|(name, RGBColor(r, g, b))| (*name, format!("rgb({r} {g} {b})"))).collect()
}

fn in_seconds(value: f64) -> String {
    match value {
        ..0.95 => format!("{:.0} ms", value * 1000.0),
        _ => duration(std::time::Duration::try_from_secs_f64(value).unwrap_or_default()),
    }
}

/// What all plots of a task share.
struct Frame {
    begin: f64,
    span: f64,
    window: f64,
    /// How many seconds a unit of the axis has, and what it is called.
    unit: (f64, &'static str),
    /// Begin, end and colour of steps, in units of the axis.
    bands: Vec<(f64, f64, RGBColor)>,
}

impl Frame {
    fn new(points: &[Point<'_>], first: &Point<'_>, last: &Point<'_>) -> Self {
        let span = last.at - first.at;
        let unit = match span {
            ..300.0 => (1.0, "seconds"),
            ..18_000.0 => (60.0, "minutes"),
            ..432_000.0 => (3600.0, "hours"),
            _ => (86_400.0, "days"),
        };
        let mut frame = Frame {
            begin: first.at,
            span: span / unit.0,
            window: (span / WINDOWS).max(WINDOW_LEAST),
            unit,
            bands: Vec::new(),
        };
        for pair in points.windows(2) {
            let [before, after] = pair else { continue };
            let color = BANDS.iter().find(|(name, _)| before.sample.step.as_deref() == Some(name));
            let Some((_, color)) = color.filter(|_| follows(before, after)) else { continue };
            let (from, to) = (frame.x(before.at), frame.x(after.at));
            match frame.bands.last_mut().filter(|band| band.2 == *color && band.1 == from) {
                Some(band) => band.1 = to,
                None => frame.bands.push((from, to, *color)),
            }
        }
        frame
    }

    fn x(&self, at: f64) -> f64 {
        (at - self.begin) / self.unit.0
    }

    /// Returns how fast a counter grew, per second, between samples of which at least one `is_counted`. `counters`: one for each
    /// sample.
    fn rates(
        &self,
        points: &[Point<'_>],
        counters: &[u64],
        is_counted: impl Fn(&KeptSample) -> bool,
    ) -> Segments {
        let counter = |point: &Point<'_>| counters.get(point.number).copied().unwrap_or_default();
        let mut segments = Segments::new();
        let mut line: Vec<(f64, f64)> = Vec::new();
        let mut base: Option<&Point<'_>> = None;
        for pair in points.windows(2) {
            let [before, after] = pair else { continue };
            let from = base.unwrap_or(before);
            let grown = counter(after).checked_sub(counter(from));
            let is_one_counted = is_counted(before.sample) || is_counted(after.sample);
            if !follows(before, after) || !is_one_counted || grown.is_none() {
                segments.push(std::mem::take(&mut line));
                base = None;
                continue;
            }
            base = Some(from);
            let seconds = after.at - from.at;
            // The last moment of a stretch counts, too.
            let is_end = !is_counted(after.sample);
            if seconds >= self.window || (is_end && seconds > 0.0) {
                #[allow(clippy::cast_precision_loss, reason = "a rate to be drawn")]
                let rate = grown.unwrap_or_default() as f64 / seconds;
                if line.is_empty() {
                    line.push((self.x(from.at), rate));
                }
                line.push((self.x(after.at), rate));
                base = Some(after);
            }
        }
        segments.push(line);
        segments.retain(|line| !line.is_empty());
        segments
    }

    /// Returns the largest value of each window.
    fn levels(&self, points: &[Point<'_>], value: impl Fn(&KeptSample) -> Option<f64>) -> Segments {
        let mut segments = Segments::new();
        let mut line: Vec<(f64, f64)> = Vec::new();
        let mut last: Option<&Point<'_>> = None;
        for point in points {
            let known = value(point.sample);
            if last.is_some_and(|last| !follows(last, point)) || known.is_none() {
                segments.push(std::mem::take(&mut line));
            }
            last = Some(point);
            let Some(known) = known else { continue };
            let x = self.x(point.at);
            match line.last_mut().filter(|last| (x - last.0) * self.unit.0 < self.window) {
                Some(last) => last.1 = last.1.max(known),
                None => line.push((x, known)),
            }
        }
        segments.push(line);
        segments.retain(|line| !line.is_empty());
        segments
    }
}

/// Returns whether somebody counted between two samples.
fn follows(before: &Point<'_>, after: &Point<'_>) -> bool {
    let seconds = after.at - before.at;
    (0.0..GAP).contains(&seconds)
}

fn draw(
    size: (u32, u32),
    frame: &Frame,
    segments: &Segments,
    top: f64,
    in_words: &dyn Fn(f64) -> String,
) -> Result<String, Box<dyn std::error::Error>> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        let mut chart = ChartBuilder::on(&area)
            .margin(6)
            .margin_right(14)
            .x_label_area_size(24)
            .y_label_area_size(82)
            .build_cartesian_2d(0.0..frame.span, 0.0..top)?;
        chart.draw_series(
            frame.bands.iter().map(|(from, to, color)| {
                Rectangle::new([(*from, 0.0), (*to, top)], color.mix(0.13).filled())
            }),
        )?;
        let whole = |x: &f64| if x.fract() == 0.0 { format!("{x:.0}") } else { format!("{x:.1}") };
        chart
            .configure_mesh()
            .disable_x_mesh()
            .bold_line_style(INK.mix(0.35))
            .light_line_style(TRANSPARENT)
            .axis_style(INK.mix(0.6))
            .label_style(("sans-serif", 12).into_font().color(&INK))
            .x_labels(if size.0 > 500 { 10 } else { 5 })
            .y_labels(4)
            .x_label_formatter(&whole)
            .y_label_formatter(&|y| if *y == 0.0 { "0".to_owned() } else { in_words(*y) })
            .draw()?;
        for line in segments {
            let points = line.iter().copied();
            chart.draw_series(AreaSeries::new(points.clone(), 0.0, LINE.mix(0.2)))?;
            chart.draw_series(LineSeries::new(points.clone(), LINE.stroke_width(2)))?;
            if let [alone] = line.as_slice() {
                chart.draw_series([Circle::new(*alone, 2, LINE.filled())])?;
            }
        }
        area.present()?;
    }
    Ok(svg)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(second: u32, step: &str, rows: u64, transactions: u64) -> KeptSample {
        let at = Timestamp::from_second(1_700_000_000 + i64::from(second)).unwrap();
        KeptSample {
            at: format!("{at:.3}"),
            step: Some(step.to_owned()),
            rows_done: rows,
            bytes_done: rows * 10,
            transactions_applied: transactions,
            lag_seconds: (step == "in_sync").then_some(if second == 20 { 9.0 } else { 0.5 }),
            spool_bytes: 0,
        }
    }

    fn parts(samples: &[KeptSample]) -> (Frame, Segments, Segments) {
        let points: Vec<Point<'_>> = samples
            .iter()
            .enumerate()
            .map(|(number, sample)| Point {
                number,
                at: sample.at.parse::<Timestamp>().unwrap().as_second() as f64,
                sample,
            })
            .collect();
        let frame = Frame::new(&points, &points[0], points.last().unwrap());
        let rows = frame.rates(&points, &reached(samples, |sample| sample.rows_done), is_copy);
        let lag = frame.levels(&points, |s| s.lag_seconds);
        (frame, rows, lag)
    }

    #[test]
    fn a_line_ends_where_nobody_counted_and_where_counters_began_anew() {
        let mut samples: Vec<KeptSample> =
            (0..5).map(|s| sample(s, "full_load", 100 * u64::from(s), 0)).collect();
        // Paused for a while; the new run begins at nothing, and counts what was copied before at once.
        samples.push(sample(60, "structure", 0, 0));
        samples.extend((61..66).map(|s| sample(s, "full_load", 400 + 50 * u64::from(s - 61), 0)));
        // A chunk that failed takes its rows back.
        samples.extend((66..70).map(|s| sample(s, "full_load", 550 + 50 * u64::from(s - 66), 0)));
        let (frame, rows, _) = parts(&samples);
        assert_eq!(rows.len(), 2, "{rows:?}");
        assert!(rows[0].iter().all(|point| point.1 == 100.0), "{rows:?}");
        let rates: Vec<f64> = rows[1].iter().map(|point| point.1).collect();
        assert_eq!(rates, [0.0, 0.0, 50.0, 50.0, 50.0, 50.0, 0.0, 0.0, 50.0, 50.0], "{rows:?}");
        assert_eq!(frame.bands.len(), 2);
        assert_eq!((frame.bands[0].0, frame.bands[0].1, frame.bands[1].0), (0.0, 4.0, 61.0));
    }

    #[test]
    fn a_long_history_is_thinned_and_keeps_its_peaks() {
        let samples: Vec<KeptSample> = (0..20_000).map(|s| sample(s, "in_sync", 7, u64::from(s))).collect();
        let (_, rows, lag) = parts(&samples);
        assert!(rows.is_empty());
        assert!(lag[0].len() < 200, "{}", lag[0].len());
        assert!(lag[0].iter().any(|point| point.1 == 9.0), "the peak of one sample is there");
        let figures = figures(&samples);
        let titles: Vec<&str> = figures.iter().map(|figure| figure.title).collect();
        assert_eq!(titles, ["Transactions applied", "Lag"]);
        assert!(
            figures[0].caption.starts_with("largest 1/s, on average 1/s; hours since 2023-11-14 22:13:20")
        );
        assert!(figures[1].wide.starts_with("<svg ") && figures[1].wide.len() < 60_000);
    }

    #[test]
    fn what_cannot_be_drawn_is_left_out() {
        assert!(figures(&[]).is_empty());
        assert!(figures(&[sample(1, "full_load", 1, 0)]).is_empty());
        // A clock that was set back.
        let back =
            [sample(100, "full_load", 1, 0), sample(50, "full_load", 2, 0), sample(20, "full_load", 3, 0)];
        assert!(figures(&back).is_empty());
    }
}
