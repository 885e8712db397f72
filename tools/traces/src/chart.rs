//! Charts: small panels side by side, the same curves in each.

use anyhow::{Result, anyhow};
use plotters::coord::ranged1d::{AsRangedCoord, ValueFormatter};
use plotters::prelude::*;

/// A curve of a panel: points of x and y.
pub struct Curve {
    pub name: String,
    pub points: Vec<(f64, f64)>,
}

pub struct Panel {
    pub title: String,
    pub curves: Vec<Curve>,
}

/// What is drawn over what, in every panel.
pub struct Axes<'a> {
    pub x: &'a str,
    pub y: &'a str,
    /// Equal distances of x are equal factors; it begins at the first point then, otherwise at 0.
    pub logarithmic: bool,
    /// Curves that rise leave room for their names below, those that fall above.
    pub rising: bool,
}

const COLUMNS: usize = 2;
const PANEL_SIZE: (u32, u32) = (520, 340);

const COLORS: [RGBColor; 7] = [
    RGBColor(130, 130, 130),
    RGBColor(200, 60, 40),
    RGBColor(220, 150, 30),
    RGBColor(120, 80, 170),
    RGBColor(60, 150, 90),
    RGBColor(30, 90, 190),
    RGBColor(20, 20, 20),
];

/// Draws the panels as an SVG document.
pub fn draw(panels: &[Panel], axes: &Axes<'_>) -> Result<String> {
    let mut text = String::new();
    let rows = panels.len().div_ceil(COLUMNS).max(1);
    let columns = panels.len().clamp(1, COLUMNS);
    let size = (PANEL_SIZE.0 * columns as u32, PANEL_SIZE.1 * rows as u32);
    draw_into(&mut text, size, (rows, columns), panels, axes)
        .map_err(|error| anyhow!("cannot draw: {error}"))?;
    Ok(text)
}

fn draw_into(
    text: &mut String,
    size: (u32, u32),
    grid: (usize, usize),
    panels: &[Panel],
    axes: &Axes<'_>,
) -> Result<(), Box<dyn std::error::Error>> {
    let area = SVGBackend::with_string(text, size).into_drawing_area();
    area.fill(&WHITE)?;
    for (panel, area) in panels.iter().zip(area.split_evenly(grid)) {
        draw_panel(panel, axes, &area)?;
    }
    area.present()?;
    Ok(())
}

fn draw_panel<Backend: DrawingBackend>(
    panel: &Panel,
    axes: &Axes<'_>,
    area: &DrawingArea<Backend, plotters::coord::Shift>,
) -> Result<(), DrawingAreaErrorKind<Backend::ErrorType>> {
    let points = panel.curves.iter().flat_map(|curve| &curve.points);
    let bounds = |values: &mut dyn Iterator<Item = f64>| {
        values.fold((f64::INFINITY, 0.0f64), |(low, high), value| {
            (low.min(value), high.max(value))
        })
    };
    let (left, right) = bounds(&mut points.clone().map(|point| point.0));
    let (_, top) = bounds(&mut points.map(|point| point.1));
    if !left.is_finite() || (axes.logarithmic && left <= 0.0) {
        return Ok(());
    }
    let height = 0.0..top * 1.05;
    match axes.logarithmic {
        true => draw_over(
            panel,
            axes,
            area,
            (left..right.max(left * 2.0)).log_scale(),
            height,
        ),
        false => draw_over(panel, axes, area, 0.0..right, height),
    }
}

fn draw_over<Backend, X>(
    panel: &Panel,
    axes: &Axes<'_>,
    area: &DrawingArea<Backend, plotters::coord::Shift>,
    width: X,
    height: std::ops::Range<f64>,
) -> Result<(), DrawingAreaErrorKind<Backend::ErrorType>>
where
    Backend: DrawingBackend,
    X: AsRangedCoord<Value = f64>,
    X::CoordDescType: ValueFormatter<f64>,
{
    let mut chart = ChartBuilder::on(area)
        .caption(&panel.title, ("sans-serif", 16))
        .margin(12)
        .x_label_area_size(36)
        .y_label_area_size(44)
        .build_cartesian_2d(width, height)?;
    let places = usize::from(!axes.logarithmic);
    chart
        .configure_mesh()
        .x_desc(axes.x)
        .y_desc(axes.y)
        .x_label_formatter(&|x| format!("{x:.places$}"))
        .y_label_formatter(&|y| format!("{y:.2}"))
        .light_line_style(TRANSPARENT)
        .label_style(("sans-serif", 12))
        .draw()?;
    for (curve, color) in panel.curves.iter().zip(COLORS.into_iter().cycle()) {
        let line = LineSeries::new(curve.points.iter().copied(), color.stroke_width(2)).point_size(3);
        chart
            .draw_series(line)?
            .label(&curve.name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], color.stroke_width(2)));
    }
    let place = match axes.rising {
        true => SeriesLabelPosition::LowerRight,
        false => SeriesLabelPosition::UpperRight,
    };
    chart
        .configure_series_labels()
        .position(place)
        .border_style(RGBColor(200, 200, 200))
        .background_style(WHITE.mix(0.85))
        .label_font(("sans-serif", 11))
        .draw()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chart_names_its_panels_and_curves() {
        let panels: Vec<Panel> = ["one", "two", "three"]
            .iter()
            .map(|&title| Panel {
                title: title.to_owned(),
                curves: vec![Curve {
                    name: "curve".to_owned(),
                    points: vec![(1.0, 0.9), (10.0, 0.3)],
                }],
            })
            .collect();
        for logarithmic in [true, false] {
            let axes = Axes {
                x: "size",
                y: "miss ratio",
                logarithmic,
                rising: !logarithmic,
            };
            let drawing = draw(&panels, &axes).expect("a drawing");
            assert!(drawing.starts_with("<svg"));
            for word in ["one", "two", "three", "curve", "size", "miss ratio"] {
                assert!(drawing.contains(word), "{word}");
            }
            assert_eq!(
                drawing.matches("polyline").count() / 3 * 3,
                drawing.matches("polyline").count()
            );
        }
    }
}
