//! Standard output: whole texts at once, JSON lines, tables that align.

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::Result;
use serde::Serialize;

/// Writes everything; a failure is reported, not panicked over as `println!` does.
pub(crate) fn print(bytes: &[u8]) -> Result<ExitCode> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)?;
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn json_line(text: &mut String, value: &impl Serialize) -> Result<()> {
    text.push_str(&serde_json::to_string(value)?);
    text.push('\n');
    Ok(())
}

pub(crate) fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<io::Error>()
        .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// `7.25%`.
pub(crate) fn percent(share: f64) -> String {
    format!("{:.2}%", share * 100.0)
}

/// A bar of `share / largest` of `width` characters, in steps of an eighth of one.
pub(crate) fn bar(share: f64, largest: f64, width: usize) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    if largest <= 0.0 {
        return String::new();
    }
    let eighths = (share / largest * width as f64 * 8.0).round() as usize;
    "█".repeat(eighths / 8) + EIGHTHS[eighths % 8]
}

/// Lines of cells: the first column to the left, the others to the right, except a last one that stays as it
/// is.
pub(crate) fn table(lines: &[Vec<String>]) -> String {
    let columns = lines.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        lines
            .iter()
            .filter_map(|line| line.get(column))
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<_> = (0..columns).map(width).collect();
    let mut text = String::new();
    for line in lines {
        let mut row = String::new();
        for (column, cell) in line.iter().enumerate() {
            let width = widths[column];
            match column {
                0 => row.push_str(&format!("{cell:width$}")),
                _ if column + 1 == columns => row.push_str(&format!("  {cell}")),
                _ => row.push_str(&format!("  {cell:>width$}")),
            }
        }
        text.push_str(row.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_have_eighths() {
        assert_eq!(bar(1.0, 1.0, 4), "████");
        assert_eq!(bar(0.5, 1.0, 4), "██");
        assert_eq!(bar(0.28125, 1.0, 4), "█▏");
        assert_eq!(bar(0.0, 1.0, 4), "");
        assert_eq!(bar(0.0, 0.0, 4), "");
    }

    #[test]
    fn tables_align() {
        let cells = |line: &[&str]| line.iter().map(|cell| (*cell).to_owned()).collect::<Vec<_>>();
        let lines = [
            cells(&["server", "keys", ""]),
            cells(&["a", "10", "██"]),
            cells(&["long-one", "7"]),
        ];
        assert_eq!(
            table(&lines),
            "server    keys\na           10  ██\nlong-one     7\n"
        );
    }
}
