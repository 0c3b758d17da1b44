//! What is shown: results on standard output, problems on standard error.

use std::io::Write as _;

/// A line of results. A reader that has gone is no reason to stop.
pub(crate) fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// Why it ends, or what is left out.
pub(crate) fn problem(line: &str) {
    let _ = writeln!(std::io::stderr(), "slipway-bench: {line}");
}

/// Rows under a heading, in aligned columns.
pub(crate) fn table(heading: &[&str], rows: &[Vec<String>]) -> String {
    let heading: Vec<String> = heading.iter().map(|&cell| cell.to_owned()).collect();
    let lines = || std::iter::once(&heading).chain(rows);
    let width = |column: usize| {
        lines().filter_map(|row| row.get(column)).map(|cell: &String| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..heading.len()).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join(" | ").trim_end().to_owned()
    };
    let rule = widths.iter().map(|&width| "-".repeat(width)).collect::<Vec<_>>().join("-|-");
    let mut text = vec![line(&heading), rule];
    text.extend(rows.iter().map(line));
    text.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [vec!["cold".to_owned(), "1–2".to_owned()], vec!["x".to_owned(), "3".to_owned()]];
        assert_eq!(table(&["case", "s"], &rows), "case | s\n-----|----\ncold | 1–2\nx    | 3");
    }
}
