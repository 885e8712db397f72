//! The chart of `spread --svg`: a bar per server, with what its weight asks for as a mark across it.

use anyhow::{Result, anyhow};
use plotters::prelude::*;

use crate::spread::Share;

/// Pixels per server, and what the frame needs besides.
const BAR_PIXELS: u32 = 28;
const FRAME_PIXELS: u32 = 130;
const WIDTH: u32 = 900;
const LABEL_PIXELS: u32 = 220;

/// Draws the shares as an SVG document.
pub(crate) fn draw(title: &str, shares: &[Share]) -> Result<String> {
    let mut text = String::new();
    let height = FRAME_PIXELS + BAR_PIXELS * shares.len().max(2) as u32;
    draw_into(&mut text, (WIDTH, height), title, shares).map_err(|error| anyhow!("cannot draw: {error}"))?;
    Ok(text)
}

fn draw_into(
    text: &mut String,
    size: (u32, u32),
    title: &str,
    shares: &[Share],
) -> Result<(), Box<dyn std::error::Error>> {
    let area = SVGBackend::with_string(text, size).into_drawing_area();
    area.fill(&WHITE)?;
    let largest = shares
        .iter()
        .map(|share| share.of_keys.max(share.by_weight))
        .fold(0.0, f64::max);
    // The axis has no labels when it has a single place, so there are two at least.
    let count = shares.len().max(2) as i32;
    let mut chart = ChartBuilder::on(&area)
        .caption(title, ("sans-serif", 18))
        .margin(16)
        .x_label_area_size(44)
        .y_label_area_size(LABEL_PIXELS)
        .build_cartesian_2d(0.0..largest * 105.0, (0..count - 1).into_segmented())?;
    // The axis runs upwards and tables downwards: the first server is the topmost bar.
    let row = |index: usize| count - 1 - index as i32;
    let name = |segment: &SegmentValue<i32>| match segment {
        SegmentValue::CenterOf(at) => usize::try_from(count - 1 - at)
            .ok()
            .and_then(|index| shares.get(index))
            .map_or(String::new(), |share| {
                format!("{} ({:.2} %)", share.server, share.of_keys * 100.0)
            }),
        _ => String::new(),
    };
    chart
        .configure_mesh()
        .disable_y_mesh()
        .light_line_style(TRANSPARENT)
        .x_desc("% of the keys; the mark is the server's part of all weights")
        .y_labels(shares.len())
        .y_label_formatter(&name)
        .label_style(("sans-serif", 13))
        .draw()?;
    chart.draw_series(shares.iter().enumerate().map(|(index, share)| {
        let at = row(index);
        let corners = [
            (0.0, SegmentValue::Exact(at)),
            (share.of_keys * 100.0, SegmentValue::Exact(at + 1)),
        ];
        let mut bar = Rectangle::new(corners, RGBColor(70, 110, 180).filled());
        bar.set_margin(4, 4, 0, 0);
        bar
    }))?;
    chart.draw_series(shares.iter().enumerate().map(|(index, share)| {
        let (at, fair) = (row(index), share.by_weight * 100.0);
        let ends = vec![
            (fair, SegmentValue::Exact(at)),
            (fair, SegmentValue::Exact(at + 1)),
        ];
        PathElement::new(ends, RGBColor(200, 60, 40).stroke_width(2))
    }))?;
    area.present()?;
    Ok(())
}
